package benchlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Build builds the weft program in a directory, as a release is.
func Build(ctx context.Context, dir string) (weft string, err error) {
	weft = filepath.Join(dir, "weft")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", weft, "weft/cmd/weft")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	text, err := build.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building weft: %w\n%s", err, text)
	}
	return weft, err
}

// Machine describes what was measured on, in one line.
func Machine() string {
	return fmt.Sprintf("%d cores of %s, Linux %s", runtime.NumCPU(), processor(), proc("sys/kernel/osrelease"))
}

// Load is the machine's load average over one minute.
func Load() string {
	first, _, _ := strings.Cut(proc("loadavg"), " ")
	return first
}

// Busy is the CPU time that the machine has used since it started, summed over its cores (proc_stat(5)).
func Busy() (busy time.Duration, err error) {
	const ticks = 100 // USER_HZ of every Linux that Go runs on
	first, _, _ := strings.Cut(proc("stat"), "\n")
	f := strings.Fields(first)
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, interrupts, soft interrupts
		if len(f) <= i {
			return 0, fmt.Errorf("/proc/stat has %d fields", len(f))
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, err
		}
		busy += time.Duration(n) * time.Second / ticks
	}
	return busy, nil
}

func processor() string {
	for line := range strings.Lines(proc("cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// proc is the text of a file below /proc.
func proc(name string) string {
	text, _ := os.ReadFile("/proc/" + name)
	return strings.TrimSpace(string(text))
}

// SelfTime is the CPU time that this process and the children that it has waited for have used (getrusage(2)).
func SelfTime() (time.Duration, error) {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			return 0, err
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum, nil
}
