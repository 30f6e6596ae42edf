package lab

import "net/netip"

// Status is a lab as it is now.
type Status struct {
	Name       string
	Dir        string
	Ready      bool       // Up came to its end
	Management netip.Addr // where hosts reach the server
	Server     int        // process id, 0: does not run
	Hosts      []HostStatus
	VMs        []VM
}

// HostStatus is a host with the ids of its processes, 0 for those that do not
// run. The ids are the machine's.
type HostStatus struct {
	Host
	PID   int // the host's first process; 0: the host is down
	Procs map[string]int
}

// Status returns the lab as it is; the error is of kind fault.NotFound when it
// is not up.
func (l *Lab) Status() (Status, error) {
	st, err := l.read()
	if err != nil {
		return Status{}, err
	}
	out := Status{
		Name: l.name, Dir: l.dir, Ready: st.Ready, VMs: st.VMs,
		Management: hostAddr(st.Management, 1), Server: st.Procs[Server].running(),
	}
	for _, h := range st.Hosts {
		hs := HostStatus{Host: h, PID: st.Procs[procKey(h.Name, firstProc)].running(), Procs: map[string]int{}}
		hs.Procs[Agent] = st.Procs[procKey(h.Name, Agent)].running()
		for _, daemon := range []string{OVSDB, VSwitchd} {
			pid, err := ovsPID(hs.PID, daemon)
			if err != nil {
				return Status{}, err
			}
			hs.Procs[daemon] = pid
		}
		out.Hosts = append(out.Hosts, hs)
	}
	return out, nil
}
