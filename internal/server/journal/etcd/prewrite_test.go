package etcd

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"weft/internal/server/journal"
)

// reserved returns a file with space that nothing was written to, as etcd makes it.
func reserved(t testing.TB, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "0.wal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		t.Fatal(err)
	}
	return f
}

// unwritten is how many bytes of a file are reserved only.
func unwritten(t testing.TB, path string) (sum int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at := int64(0); ; {
		from, to, err := hole(f, at)
		if err != nil {
			t.Fatal(err)
		}
		if from == to {
			return sum
		}
		sum, at = sum+to-from, to
	}
}

func TestPrewriteWritesReservedSpaceAndNothingElse(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.Int64Range(1, 256<<10).Draw(r, "size")
		f := reserved(t, size)
		want := make([]byte, size)
		for range rapid.IntRange(0, 4).Draw(r, "records") {
			at := rapid.Int64Range(0, size-1).Draw(r, "at")
			n := copy(want[at:], bytes.Repeat([]byte{0xa5}, rapid.IntRange(1, 9000).Draw(r, "bytes")))
			if _, err := f.WriteAt(want[at:at+int64(n)], at); err != nil {
				r.Fatal(err)
			}
		}
		if err := prewrite(t.Context(), f.Name(), 0); err != nil {
			r.Fatal(err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil {
			r.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			r.Error("the content has changed")
		}
		if n := unwritten(t, f.Name()); n != 0 {
			r.Errorf("%d of %d bytes are still not written", n, size)
		}
	})
}

// Whatever is written to the file at the same time stays.
func TestPrewriteBesideAWriterLosesNothing(t *testing.T) {
	const size, record = 4 << 20, 1300
	f := reserved(t, size)
	var want bytes.Buffer
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; want.Len()+record <= size; i++ {
			b := bytes.Repeat([]byte{byte(i) | 1}, record)
			if _, err := f.WriteAt(b, int64(want.Len())); err != nil {
				t.Error(err)
				return
			}
			want.Write(b)
		}
	})
	// The same pages again and again, while records come to lie in them.
	for range 20 {
		if err := callWritten(f, 0, size); err != nil {
			t.Fatal(err)
		}
	}
	writer.Wait()
	got, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:want.Len()], want.Bytes()) {
		t.Error("a record is not as it was written")
	}
}

func TestPrewriteOfAFileThatIsCutShortFails(t *testing.T) {
	f := reserved(t, 1<<20)
	if err := f.Truncate(5000); err != nil {
		t.Fatal(err)
	}
	if err := callWritten(f, 0, 1<<20); err == nil || !strings.Contains(err.Error(), "calling pages written") {
		t.Errorf("pages behind the end of a file were called written: %v", err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != 5000 {
		t.Errorf("the file has %d bytes (%v), want 5000", st.Size(), err)
	}
}

// The log of a journal is written ahead while it is in use, and what is in it can be read again.
func TestJournalLogIsWrittenAhead(t *testing.T) {
	dir := t.TempDir()
	j := start(t, dir)
	campaign(t, j)
	logs := filepath.Join(dir, "etcd", "member", "wal")
	ctx, cancel := context.WithCancel(t.Context())
	var works sync.WaitGroup
	works.Go(func() { (&prewriter{logs, slog.New(slog.DiscardHandler)}).run(ctx) })
	files, err := filepath.Glob(filepath.Join(logs, "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("log files %v (%v), want one", files, err)
	}
	const all = 200
	rows := 0
	for rows < all || unwritten(t, files[0]) > 0 {
		if _, err := j.Append(t.Context(), []journal.Op{put(fmt.Sprintf("%06d", rows), "x")}); err != nil {
			t.Fatal(err)
		}
		rows++
	}
	cancel()
	works.Wait()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = start(t, dir)
	defer j.Close()
	if got, _ := load(t, j); len(got) != rows {
		t.Errorf("loaded %d rows, want %d", len(got), rows)
	}
}

// What one append waits for, in space that is reserved only and in space that was written ahead.
func BenchmarkSync(b *testing.B) {
	const size, record = 64 << 20, 1300
	for _, c := range []struct {
		name  string
		ahead bool
	}{{"reserved", false}, {"written ahead", true}} {
		b.Run(c.name, func(b *testing.B) {
			f := reserved(b, size)
			if c.ahead {
				if err := callWritten(f, 0, size); err != nil {
					b.Fatal(err)
				}
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			data := bytes.Repeat([]byte{1}, record)
			for i := 0; b.Loop(); i++ {
				if _, err := f.WriteAt(data, int64(i*record%(size-record))); err != nil {
					b.Fatal(err)
				}
				if err := unix.Fdatasync(int(f.Fd())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
