package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
)

// Down ends every process of the lab and removes every trace of it: devices,
// namespaces, files. It works from the lab's name alone, so that a lab that was
// only half made, or whose state is lost, goes too; that there is none is no error.
func (l *Lab) Down(ctx context.Context) error {
	if !labName.MatchString(l.name) {
		return fault.New(fault.Invalid, "InvalidLab", "%q is no name of a lab", l.name)
	}
	if err := l.endAll(ctx); err != nil {
		return fmt.Errorf("bringing lab %s down: %w", l.name, err)
	}
	if err := errors.Join(l.removeLinks(), l.removeNetns(), l.removeFiles()); err != nil {
		return fmt.Errorf("bringing lab %s down: %w", l.name, err)
	}
	return nil
}

// endAll ends the hosts' first processes, each with everything in its host, the
// server, and what was started in the world outside, which is no host.
func (l *Lab) endAll(ctx context.Context) error {
	own := os.Getpid()
	pids, err := processes(func(pid int) bool { return pid != own && isOf(pid, l.name) })
	if err != nil {
		return err
	}
	outside, err := inNetns(filepath.Join(link.NetnsDir, l.outsideNetns()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	pids = append(pids, outside...)
	g, ctx := errgroup.WithContext(ctx)
	for _, pid := range pids {
		g.Go(func() error { return signalAndWait(ctx, pid, unix.SIGKILL) })
	}
	return g.Wait()
}

func (l *Lab) removeLinks() error {
	root, err := link.Current()
	if err != nil {
		return err
	}
	defer root.Close()
	links, err := root.List()
	if err != nil {
		return err
	}
	ours := regexp.MustCompile("^" + l.name + "-(mgmt|m[0-9]+)$")
	var names []string
	for _, d := range links {
		if ours.MatchString(d.Name) {
			names = append(names, d.Name)
		}
	}
	return root.Delete(names...)
}

func (l *Lab) removeNetns() error {
	names, err := link.NetnsNames()
	if err != nil {
		return err
	}
	ours := regexp.MustCompile("^" + l.name + "-(underlay|outside|(compute|network)[0-9]+)$")
	var errs []error
	for _, name := range names {
		if ours.MatchString(name) {
			errs = append(errs, link.DeleteNetns(name))
		}
	}
	return errors.Join(errs...)
}

// removeFiles removes what a lab has in its directory, and the directory when
// that was all: a directory that someone named by mistake keeps the rest.
func (l *Lab) removeFiles() error {
	// The state goes last: until then the name is taken.
	for _, name := range []string{"hosts", "server", "server.log", "state.json.next", "state.json"} {
		if err := os.RemoveAll(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	for _, dir := range []string{l.dir, filepath.Dir(l.dir)} {
		if dir != l.dir && filepath.Base(dir) != "weft-lab" {
			break
		}
		err := os.Remove(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}
