package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// etcd reserves the space of its log, 64 MiB at a time, without writing it. The first write to such space makes the file
// system note that it holds data now, which every fdatasync then waits for beside the data itself: on one with a journal
// that is a second write to the disk. The prewriter goes ahead and has written what is reserved, so that an append
// waits for its own data alone (ADR 19 has the figures).
//
// It cannot change what etcd writes at the same moment, because it changes nothing: it has the kernel do
// what it does before a write to a page of mapped memory, which is to call the page written (madvise(2), MADV_POPULATE_WRITE).
const (
	prewriteLook  = time.Second           // between two looks for reserved space; at full speed, etcd takes five to fill a file
	prewriteChunk = 4 << 20               // bytes that go to the disk at once; a page cache in large folios writes less than one of them anew again and again
	prewritePause = 50 * time.Millisecond // between two chunks of a file that is not in use yet, so that others find the disk idle
)

// prewriter keeps the space written that etcd has reserved in a directory.
type prewriter struct {
	dir string
	log *slog.Logger
}

// prewritable tells whether a directory is on a file system where writing ahead saves something, and where a write goes where
// the one before went: ext4 and XFS do, those that copy on write do not.
func prewritable(dir string) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false
	}
	return s.Type == unix.EXT4_SUPER_MAGIC || s.Type == unix.XFS_SUPER_MAGIC
}

// run works until ctx ends. What it cannot do it leaves: appends then take longer, that is all.
func (p *prewriter) run(ctx context.Context) {
	tick := time.NewTicker(prewriteLook)
	defer tick.Stop()
	for {
		p.files(ctx, "*.wal", 0)             // in use
		p.files(ctx, "*.tmp", prewritePause) // the one that etcd has ready for when it is full
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *prewriter) files(ctx context.Context, pattern string, pause time.Duration) {
	files, _ := filepath.Glob(filepath.Join(p.dir, pattern)) // fails on a bad pattern alone
	for _, path := range files {
		if err := prewrite(ctx, path, pause); err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
			p.log.Debug("writing reserved space of the journal ahead", "file", path, "error", err)
		}
	}
}

// prewrite has all space of a file written that is reserved only, with a pause after each chunk. The file may be in use, and may be
// cut short or deleted meanwhile.
func prewrite(ctx context.Context, path string, pause time.Duration) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close() // of a description of our own: etcd's lock on the file stays (fcntl(2), open file description locks)
	for at := int64(0); ; {
		from, to, err := hole(f, at)
		if err != nil || from == to {
			return err
		}
		for at = from; at < to; at += prewriteChunk {
			if err := callWritten(f, at, min(at+prewriteChunk, to)); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(pause):
			}
		}
	}
}

// hole returns the first range of a file, from an offset on, that holds no data; an empty one when there is none. Reserved space is
// a hole until something is written there (lseek(2), SEEK_HOLE). It begins and ends with pages.
func hole(f *os.File, at int64) (from, to int64, err error) {
	page := int64(os.Getpagesize())
	from, err = f.Seek(at, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // at the end, or behind it
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	to, err = f.Seek(from, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // none behind it
		to, err = f.Seek(0, unix.SEEK_END)
	}
	if err != nil {
		return 0, 0, err
	}
	from = (from + page - 1) / page * page
	return from, max(from, to/page*page), nil // what is not a whole page at the end will not be missed
}

// callWritten makes the pages of a range ones that were written to, with what is in them, and has that brought to the disk. It fails
// when the file ends before the range does: etcd cuts a file that it has filled.
func callWritten(f *os.File, from, to int64) error {
	mem, err := unix.Mmap(int(f.Fd()), from, int(to-from), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping: %w", err)
	}
	err = unix.Madvise(mem, unix.MADV_POPULATE_WRITE)
	if err := errors.Join(err, unix.Munmap(mem)); err != nil {
		return fmt.Errorf("calling pages written: %w", err)
	}
	return unix.SyncFileRange(int(f.Fd()), from, to-from,
		unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}
