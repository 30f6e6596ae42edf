package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
)

// underlaySwitch is the bridge that joins the hosts' underlay cards.
const underlaySwitch = "br-under"

// makeManagement makes the bridge on which the hosts reach the server.
func (l *Lab) makeManagement(root *link.Namespace, st state) error {
	bridge := l.managementBridge()
	if _, err := root.EnsureBridge(link.Bridge{Name: bridge}); err != nil {
		return err
	}
	if err := root.EnsureAddr(bridge, netip.PrefixFrom(hostAddr(st.Management, 1), st.Management.Bits())); err != nil {
		return err
	}
	return root.SetUp(bridge)
}

// makeNetworks makes the underlay, a namespace with nothing but a bridge, and the external wire.
func (l *Lab) makeNetworks(st state) error {
	if _, err := link.EnsureNetns(l.underlayNetns()); err != nil {
		return err
	}
	n, err := link.OpenNetns(l.underlayNetns())
	if err != nil {
		return err
	}
	defer n.Close()
	// It is a cable: nothing filters there and nothing speaks.
	err = n.TrySysctls("0", "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables")
	if err := errors.Join(err, n.TrySysctls("1", "net/ipv6/conf/default/disable_ipv6")); err != nil {
		return err
	}
	if _, err := n.EnsureBridge(link.Bridge{Name: underlaySwitch, MTU: st.MTU}); err != nil {
		return err
	}
	if err := n.SetUp(underlaySwitch); err != nil {
		return err
	}
	return l.makeOutside()
}

// boot starts a host and its Open vSwitch and joins it to both networks.
func (l *Lab) boot(ctx context.Context, st state, h Host, networks <-chan struct{}) error {
	if err := l.createOVSDB(ctx, h.Name); err != nil {
		return err
	}
	pid, err := l.startFirst(ctx, st, h)
	if err != nil {
		return err
	}
	n, err := link.OpenPath(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return err
	}
	defer n.Close()
	if err := l.startOVSDB(ctx, h.Name); err != nil {
		return err
	}
	if !arrived(ctx, networks) {
		return ctx.Err()
	}
	if err := l.cable(ctx, st, h, n); err != nil {
		return err
	}
	if err := l.configureOVS(ctx, h, n); err != nil {
		return err
	}
	if err := l.startVSwitchd(ctx, h.Name); err != nil {
		return err
	}
	if err := n.SetMTU(underlayBridge, st.MTU); err != nil {
		return err
	}
	if err := n.EnsureAddr(underlayBridge, netip.PrefixFrom(h.Tunnel, underlayNet.Bits())); err != nil {
		return err
	}
	return n.SetUp(underlayBridge)
}

// startFirst starts a host's first process in namespaces of its own and waits
// until it has made the host.
func (l *Lab) startFirst(ctx context.Context, st state, h Host) (pid int, err error) {
	dir := l.hostDir(h.Name)
	log, err := os.OpenFile(dir+"/init.log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	ready, say, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ready.Close()
	cmd := exec.Command(st.Self, InitCommand, "host", h.Name, dir)
	cmd.Env = append(environ(), labVariable+"="+l.name)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{say}
	cmd.SysProcAttr = &unix.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWPID,
	}
	err = cmd.Start()
	say.Close()
	if err != nil {
		return 0, fmt.Errorf("starting the host's first process: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// Recorded before it is ready: Down must find it in any case.
	if err := l.record(h.Name, firstProc, cmd.Process.Pid); err != nil {
		return 0, err
	}
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	defer stop()
	said, err := io.ReadAll(ready)
	if err != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	if len(said) > 0 {
		return 0, fmt.Errorf("making the host: %s", said)
	}
	// It closes the pipe without a word when it is ready, and also when it dies.
	select {
	case err := <-ended:
		return 0, fmt.Errorf("the host's first process ended (see %s/init.log): %w", dir, err)
	default:
	}
	return cmd.Process.Pid, link.AttachNetns(l.hostNetns(h.Name), cmd.Process.Pid)
}

// cable joins a host to the management, the underlay and the external network.
func (l *Lab) cable(ctx context.Context, st state, h Host, n *link.Namespace) error {
	root, err := link.Current()
	if err != nil {
		return err
	}
	defer root.Close()
	underlay, err := link.OpenNetns(l.underlayNetns())
	if err != nil {
		return err
	}
	defer underlay.Close()
	outside, err := link.OpenNetns(l.outsideNetns())
	if err != nil {
		return err
	}
	defer outside.Close()
	for _, c := range []struct {
		at           *link.Namespace
		port, bridge string
		device       string
		mtu          int
		address      netip.Addr
		quiet        bool
	}{
		{at: root, port: l.managementPort(h), bridge: l.managementBridge(), device: managementDevice, address: h.Management},
		{at: underlay, port: "u-" + h.Name, bridge: underlaySwitch, device: underlayDevice, mtu: st.MTU, quiet: true},
		{at: outside, port: externalPort(h.Name), bridge: externalSwitch, device: externalDevice, quiet: true},
	} {
		if _, err := c.at.EnsureVeth(link.Veth{Name: c.port, Peer: c.device, PeerIn: n, MTU: c.mtu}); err != nil {
			return err
		}
		if err := c.at.SetMaster(c.port, c.bridge); err != nil {
			return err
		}
		if c.address.IsValid() {
			if err := n.EnsureAddr(c.device, netip.PrefixFrom(c.address, 24)); err != nil {
				return err
			}
		}
		if c.quiet {
			// Open vSwitch reads it; without this, every ping gets several answers.
			if err := errors.Join(n.DisableIPv6(c.device), n.Quiet(ctx, c.device)); err != nil {
				return err
			}
		}
		if err := errors.Join(c.at.SetUp(c.port), n.SetUp(c.device)); err != nil {
			return err
		}
	}
	return nil
}

// KillHost is a crash of a host: every process of it ends at once, its devices
// go, its disk stays. VMs on it are gone.
func (l *Lab) KillHost(ctx context.Context, name string) error {
	st, err := l.read()
	if err != nil {
		return err
	}
	h, err := st.host(name)
	if err != nil {
		return err
	}
	pid, err := l.firstProcess(name)
	if err != nil {
		return err
	}
	// When a first process has ended, so have all others of its namespace
	// (pid_namespaces(7)).
	if err := signalAndWait(ctx, pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("killing host %s: %w", name, err)
	}
	if err := l.uncable(h); err != nil {
		return fmt.Errorf("killing host %s: %w", name, err)
	}
	return l.update(func(s *state) error {
		var left []VM
		for _, v := range s.VMs {
			if v.Host != name {
				left = append(left, v)
			}
		}
		s.VMs = left
		return nil
	})
}

// uncable takes a host's cables and its name away; its namespace goes with them.
func (l *Lab) uncable(h Host) error {
	root, err := link.Current()
	if err != nil {
		return err
	}
	defer root.Close()
	underlay, err := link.OpenNetns(l.underlayNetns())
	if err != nil {
		return err
	}
	defer underlay.Close()
	outside, err := link.OpenNetns(l.outsideNetns())
	if err != nil {
		return err
	}
	defer outside.Close()
	return errors.Join(root.Delete(l.managementPort(h)), outside.Delete(externalPort(h.Name)), underlay.Delete("u-"+h.Name), link.DeleteNetns(l.hostNetns(h.Name)))
}

// StartHost boots a host that was killed, with the disk that it had, and its agent.
func (l *Lab) StartHost(ctx context.Context, name string) error {
	st, err := l.read()
	if err != nil {
		return err
	}
	h, err := st.host(name)
	if err != nil {
		return err
	}
	if st.Procs[procKey(name, firstProc)].running() != 0 {
		return fault.New(fault.Conflict, "HostUp", "host %s is up", name)
	}
	networks := make(chan struct{})
	close(networks)
	if err := l.boot(ctx, st, h, networks); err != nil {
		return fmt.Errorf("starting host %s: %w", name, err)
	}
	if len(st.Procs[procKey(name, Agent)].Command) == 0 {
		return nil
	}
	return l.Start(ctx, name, Agent)
}
