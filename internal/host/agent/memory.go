package agent

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	runtime "runtime/metrics"
	"strings"
	"syscall"
	"time"
)

// Memory on a host is for its guests. What a burst of work has left behind goes back to the kernel when the agent is at rest.
const (
	restEvery  = 2 * time.Second
	restAllocs = 256 << 10 // bytes allocated meanwhile, above which the agent is at work
	restReturn = 1 << 20   // bytes to give back, below which it is not worth a collection
)

// rest gives memory back until ctx ends.
func (a *Agent) rest(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	s := []runtime.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	runtime.Read(s)
	started := false
	for {
		allocated := s[0].Value.Uint64()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if runtime.Read(s); s[0].Value.Uint64()-allocated > restAllocs {
			continue
		}
		live, objects, free := s[1].Value.Uint64(), s[2].Value.Uint64(), s[3].Value.Uint64()
		if free+max(objects, live)-live > restReturn {
			debug.FreeOSMemory()
		}
		if !started {
			started = true
			if err := leaveProgram(); err != nil {
				a.log.Debug("pages of the program stay mapped", "err", err)
			}
		}
	}
}

// leaveProgram takes the pages of the program's file out of this process. Most of them, it has read only to start: the program
// is a server and a client as well. The page cache keeps them until the kernel has a better use for that memory, which it now may decide
// without asking this process; what is needed again comes back from there by itself.
func leaveProgram() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to uintptr
		var perm string
		// Of what may have been written to, nothing: it is not in the file.
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perm); err != nil || !strings.HasSuffix(lines.Text(), " "+self) || perm[1] == 'w' {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, from, to-from, syscall.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}
