package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
)

// The processes of a lab that can be started, stopped and killed one by one.
// Server is the machine's, with no host; each host has the others.
const (
	Server   = "server"
	Agent    = "agent"
	OVSDB    = "ovsdb-server"
	VSwitchd = "ovs-vswitchd"
)

// firstProc is a host's first process, in state.Procs.
const firstProc = "first"

// labVariable marks, in their environment, the processes that Down must find
// without state.json. Its value is the lab's name.
const labVariable = "WEFT_LAB"

func procKey(host, proc string) string {
	if host == "" {
		return proc
	}
	return host + "/" + proc
}

// Start starts a process that does not run, with the command line that it had
// before. Open vSwitch's daemons are ready when Start returns. An agent's output
// goes to /var/log/weft-agent.log of its host, the server's to server.log.
func (l *Lab) Start(ctx context.Context, host, proc string) error {
	if pid, _ := l.PID(host, proc); pid != 0 {
		return fault.New(fault.Conflict, "ProcessRuns", "%s already runs", procKey(host, proc))
	}
	var err error
	switch {
	case proc == Server && host == "":
		err = l.spawn(ctx, host, proc, filepath.Join(l.dir, "server.log"))
	case proc == Agent && host != "":
		err = l.spawn(ctx, host, proc, "/var/log/weft-agent.log")
	case proc == OVSDB && host != "":
		err = l.startOVSDB(ctx, host)
	case proc == VSwitchd && host != "":
		err = l.startVSwitchd(ctx, host)
	default:
		return noProcess(host, proc)
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", procKey(host, proc), err)
	}
	return nil
}

// Stop asks a process to end (SIGTERM) and waits until it has.
func (l *Lab) Stop(ctx context.Context, host, proc string) error {
	return l.end(ctx, host, proc, unix.SIGTERM)
}

// Kill ends a process at once (SIGKILL) and waits until it has ended.
func (l *Lab) Kill(ctx context.Context, host, proc string) error {
	return l.end(ctx, host, proc, unix.SIGKILL)
}

func (l *Lab) end(ctx context.Context, host, proc string, sig unix.Signal) error {
	pid, err := l.PID(host, proc)
	if err != nil {
		return err
	}
	if pid == 0 {
		return fault.New(fault.Conflict, "ProcessNotRunning", "%s does not run", procKey(host, proc))
	}
	if err := signalAndWait(ctx, pid, sig); err != nil {
		return fmt.Errorf("ending %s: %w", procKey(host, proc), err)
	}
	return nil
}

// PID returns the id of a process as the machine sees it, 0 when it does not run.
func (l *Lab) PID(host, proc string) (int, error) {
	st, err := l.read()
	if err != nil {
		return 0, err
	}
	if host != "" {
		if _, err := st.host(host); err != nil {
			return 0, err
		}
	}
	switch {
	case host == "" && proc == Server, host != "" && (proc == Agent || proc == firstProc):
		return st.Procs[procKey(host, proc)].running(), nil
	case host != "" && (proc == OVSDB || proc == VSwitchd):
		return ovsPID(st.Procs[procKey(host, firstProc)].running(), proc)
	}
	return 0, noProcess(host, proc)
}

func noProcess(host, proc string) error {
	return fault.New(fault.NotFound, "ProcessNotFound", "a lab has no process %s", procKey(host, proc))
}

// firstProcess returns the id of a host's first process.
func (l *Lab) firstProcess(host string) (int, error) {
	pid, err := l.PID(host, firstProc)
	if err == nil && pid == 0 {
		err = fault.New(fault.Conflict, "HostDown", "host %s is down", host)
	}
	return pid, err
}

func (l *Lab) setCommand(host, proc string, argv []string) error {
	return l.update(func(s *state) error {
		s.Procs[procKey(host, proc)] = process{Command: argv}
		return nil
	})
}

// spawn starts the recorded command of a process that stays in the foreground,
// away from the caller's terminal, and records which process it is. Its output
// goes to a file of the host, or of the machine when there is no host.
func (l *Lab) spawn(ctx context.Context, host, proc, logFile string) error {
	st, err := l.read()
	if err != nil {
		return err
	}
	argv := st.Procs[procKey(host, proc)].Command
	if len(argv) == 0 {
		return fault.New(fault.NotFound, "ProcessNotFound", "the lab was given no command for it")
	}
	var pid int
	if host == "" {
		pid, err = l.spawnHere(logFile, argv)
	} else {
		pid, err = l.spawnInside(ctx, st, host, logFile, argv)
	}
	if err != nil {
		return err
	}
	return l.record(host, proc, pid)
}

func (l *Lab) spawnHere(logFile string, argv []string) (pid int, err error) {
	cmd, log, err := detached(logFile, argv)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd.Env, cmd.Dir = append(environ(), labVariable+"="+l.name), l.dir
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go cmd.Wait() // collects it when it ends before we do
	return cmd.Process.Pid, nil
}

// spawnInside has a process in the host do the starting, which then ends: that
// makes the new one a child of the host's first process. A child of ours would
// fall to the machine's first process when we end, and until that one collects
// it, a host that is killed could not end (pid_namespaces(7)).
func (l *Lab) spawnInside(ctx context.Context, st state, host, logFile string, argv []string) (pid int, err error) {
	inside, err := l.Output(ctx, host, append([]string{st.Self, InitCommand, "spawn", logFile}, argv...)...)
	if err != nil {
		return 0, err
	}
	pid, err = pidOutside(st.Procs[procKey(host, firstProc)].running(), strings.TrimSpace(inside))
	if err == nil && pid == 0 {
		err = fmt.Errorf("it ended at once: see %s of %s", logFile, host)
	}
	return pid, err
}

// spawn is the part of spawnInside in the host. It prints the id that the new
// process has there.
func spawn(logFile string, argv []string) error {
	cmd, log, err := detached(logFile, argv)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return nil
}

// detached is a command that is not bound to a context or a terminal: it
// outlives its caller.
func detached(logFile string, argv []string) (*exec.Cmd, *os.File, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	return cmd, log, nil
}

// record writes down which process it is. Of one that has already ended there is
// nothing to write.
func (l *Lab) record(host, proc string, pid int) error {
	started, _ := startTime(pid)
	return l.update(func(s *state) error {
		p := s.Procs[procKey(host, proc)]
		p.PID, p.Started = pid, started
		s.Procs[procKey(host, proc)] = p
		return nil
	})
}

// running returns the process's id, 0 when it has ended.
func (p process) running() int {
	if p.PID == 0 {
		return 0
	}
	if started, alive := startTime(p.PID); !alive || started != p.Started {
		return 0
	}
	return p.PID
}

// startTime reads when a process started, in clock ticks since boot, and
// whether it still runs: a zombie does not.
func startTime(pid int) (ticks uint64, alive bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	// The second field, the name in brackets, may itself have blanks and brackets.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, false
	}
	ticks, err = strconv.ParseUint(fields[19], 10, 64)
	return ticks, err == nil
}

// signalAndWait signals a process and waits for its end; one that has already
// ended is as wanted.
func signalAndWait(ctx context.Context, pid int, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signalling process %d: %w", pid, err)
	}
	// The descriptor is readable once the process has ended (pidfd_open(2)). The
	// bound is only there to look at the context.
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 100)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("waiting for process %d: %w", pid, err)
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for process %d: %w", pid, ctx.Err())
		}
	}
}

// processes lists the ids of all processes that fit.
func processes(fits func(pid int) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && fits(pid) {
			out = append(out, pid)
		}
	}
	return out, nil
}

// isOf reports whether a process is a first process or the server of a lab.
func isOf(pid int, lab string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for kv := range bytes.SplitSeq(env, []byte{0}) {
		if string(kv) == labVariable+"="+lab {
			return true
		}
	}
	return false
}

// inNetns lists the processes in the network namespace behind a file.
func inNetns(path string) ([]int, error) {
	var want, is unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return nil, err
	}
	return processes(func(pid int) bool {
		err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &is)
		return err == nil && is.Ino == want.Ino && is.Dev == want.Dev
	})
}

// pidOutside finds the id that a process of a host has for the machine by the
// id that it has in the host; 0 when there is none that runs.
func pidOutside(firstPID int, inside string) (int, error) {
	namespace := pidNamespace(firstPID)
	found, err := processes(func(pid int) bool {
		if pidNamespace(pid) != namespace {
			return false
		}
		_, alive := startTime(pid)
		return alive && idInside(pid) == inside
	})
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[0], nil
}

func pidNamespace(pid int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
	return name
}

// idInside is the id of a process in its own PID namespace (NSpid of proc_pid_status(5)).
func idInside(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return fields[len(fields)-1]
		}
	}
	return ""
}
