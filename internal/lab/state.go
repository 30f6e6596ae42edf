package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
)

// state is state.json: what another process must know to work with the lab.
type state struct {
	Name       string             `json:"name"`
	Self       string             `json:"self"` // the program that hosts run
	MTU        int                `json:"mtu"`
	Management netip.Prefix       `json:"management"`
	Ready      bool               `json:"ready"` // Up came to its end
	Hosts      []Host             `json:"hosts"`
	Procs      map[string]process `json:"procs"` // by procKey
	VMs        []VM               `json:"vms"`
}

// process is a process as the machine sees it, from outside the hosts.
type process struct {
	PID int `json:"pid,omitempty"`
	// Started is the start time in clock ticks since boot (proc_pid_stat(5), field
	// 22): with it, a process of a later time that got the same id is told apart.
	Started uint64   `json:"started,omitempty"`
	Command []string `json:"command,omitempty"`
}

func (s *state) host(name string) (Host, error) {
	for _, h := range s.Hosts {
		if h.Name == name {
			return h, nil
		}
	}
	return Host{}, fault.New(fault.NotFound, "HostNotFound", "lab %s has no host %q", s.Name, name)
}

func (s *state) vm(name string) (VM, error) {
	for _, v := range s.VMs {
		if v.Name == name {
			return v, nil
		}
	}
	return VM{}, fault.New(fault.NotFound, "VMNotFound", "lab %s has no VM %q", s.Name, name)
}

func (l *Lab) statePath() string { return filepath.Join(l.dir, "state.json") }

// read returns the state; the error is of kind fault.NotFound when the lab is not there.
func (l *Lab) read() (state, error) {
	var st state
	b, err := os.ReadFile(l.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return st, fault.New(fault.NotFound, "LabNotFound", "lab %s is not up", l.name).Because(err)
	}
	if err != nil {
		return st, fmt.Errorf("reading the lab's state: %w", err)
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("reading the lab's state: %s: %w", l.statePath(), err)
	}
	return st, nil
}

// update changes the state, one change at a time whoever makes it.
func (l *Lab) update(change func(*state) error) error {
	unlock, err := lock(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "LabNotFound", "lab %s is not up", l.name).Because(err)
	}
	if err != nil {
		return err
	}
	defer unlock()
	st, err := l.read()
	if err != nil {
		return err
	}
	if err := change(&st); err != nil {
		return err
	}
	return l.write(st)
}

func (l *Lab) write(st state) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(st); err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	// By a second name: a reader, or a crash, never finds half a file.
	next := l.statePath() + ".next"
	if err := os.WriteFile(next, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("writing the lab's state: %w", err)
	}
	return os.Rename(next, l.statePath())
}

// claim takes the name, the directory and a management network for a new lab.
func (l *Lab) claim(cfg Config) (state, error) {
	// Labs choose their network one after the other. The lock is on a directory
	// that is always there, so that it leaves no file.
	unlock, err := lock("/run")
	if err != nil {
		return state{}, err
	}
	defer unlock()
	if _, err := os.Stat(l.statePath()); err == nil {
		return state{}, fault.New(fault.Conflict, "LabExists", "lab %s is already there (%s): bring it down first", l.name, l.statePath())
	}
	root, err := link.Current()
	if err != nil {
		return state{}, err
	}
	defer root.Close()
	if _, err := root.Get(l.managementBridge()); err == nil {
		return state{}, fault.New(fault.Conflict, "LabExists", "a lab %s left its bridge %s behind: bring it down first", l.name, l.managementBridge())
	}
	management, err := freeManagement(root)
	if err != nil {
		return state{}, err
	}
	st := state{
		Name: l.name, Self: cfg.Self, MTU: cfg.MTU, Management: management,
		Hosts: planHosts(cfg, management), Procs: map[string]process{},
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return state{}, err
	}
	if err := l.write(st); err != nil {
		return state{}, err
	}
	// The bridge is what other labs see of the claim: made under the lock.
	if err := l.makeManagement(root, st); err != nil {
		return state{}, errors.Join(err, l.removeFiles(), root.Delete(l.managementBridge()))
	}
	return st, nil
}

// freeManagement picks a network 172.31.n.0/24 that the machine does not use,
// from 254 down.
func freeManagement(root *link.Namespace) (netip.Prefix, error) {
	routes, err := root.Routes()
	if err != nil {
		return netip.Prefix{}, err
	}
	for n := 254; n > 0; n-- {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(n), 0}), 24)
		if !inUse(p, routes) {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("no network 172.31.n.0/24 is free for management")
}

// inUse reports whether a network overlaps one that the machine has a route to.
// A far wider one (a cloud's 172.31.0.0/16) may lose a piece, unless its gateway
// is in that piece.
func inUse(p netip.Prefix, routes []link.Route) bool {
	for _, r := range routes {
		if r.Gateway.IsValid() && p.Contains(r.Gateway) {
			return true
		}
		if r.Dst.Bits() >= 20 && r.Dst.Overlaps(p) {
			return true
		}
	}
	return false
}

// lock takes the lock on a directory, among all processes of the machine.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
