package agent

import (
	"context"
	"runtime/debug"
	runtime "runtime/metrics"
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
	}
}
