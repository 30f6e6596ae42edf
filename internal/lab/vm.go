package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// dhcpTime is how long a VM asks for an address, when nothing else is said.
const dhcpTime = 30 * time.Second

// VM is a guest of the lab: a network namespace with one card, or a machine in qemu.
type VM struct {
	Name   string       `json:"name"`
	Host   string       `json:"host"`
	PortID model.PortID `json:"port_id"`
	MAC    model.MAC    `json:"mac"`
	UUID   model.UUID   `json:"uuid"`
	Mode   vif.Mode     `json:"mode"`
	Qemu   bool         `json:"qemu,omitempty"`
	// Console is where a machine in qemu prints, a file of this machine.
	Console string `json:"console,omitempty"`
}

// VMSpec is the VM to make. The port must be known to whoever answers its DHCP.
type VMSpec struct {
	Host, Name string
	PortID     model.PortID
	MAC        model.MAC
	UUID       model.UUID
	MTU        int      // bytes
	Mode       vif.Mode // empty: hybrid
	// Static addresses; when there are any, or NoDHCP is set, DHCP is not asked.
	Static  []netip.Prefix
	Gateway netip.Addr // default route beside Static
	NoDHCP  bool
	DHCP    time.Duration // how long to ask; 0: 30 s
	// AcceptRA has the VM take IPv6 addresses from router advertisements (SLAAC).
	AcceptRA bool
	Qemu     *Machine // boot a machine instead of making a namespace
}

// Lease is what DHCP gave a VM (RFC 2131, options of RFC 2132 and 3442).
type Lease struct {
	Address netip.Prefix  `json:"address"`
	Routes  []link.Route  `json:"routes"`
	DNS     []netip.Addr  `json:"dns"`
	Domain  string        `json:"domain,omitempty"`
	MTU     int           `json:"mtu,omitempty"`
	Server  netip.Addr    `json:"server"`
	Time    time.Duration `json:"time"`
}

var vmName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)

// VMCreate plugs a VM in and starts it. A namespace has its address when VMCreate
// returns; a machine in qemu is then booting, and asks by itself. When it fails,
// nothing of the VM is left.
func (l *Lab) VMCreate(ctx context.Context, s VMSpec) (vm VM, err error) {
	if !vmName.MatchString(s.Name) {
		return VM{}, fault.New(fault.Invalid, "InvalidVM", "%q is no name for a VM: letters, digits and dashes, in lower case", s.Name)
	}
	if s.Mode == "" {
		s.Mode = vif.Hybrid
	}
	first, err := l.firstProcess(s.Host)
	if err != nil {
		return VM{}, err
	}
	vm = VM{Name: s.Name, Host: s.Host, PortID: s.PortID, MAC: s.MAC, UUID: s.UUID, Mode: s.Mode, Qemu: s.Qemu != nil}
	// Recorded before it is made: Down and VMDelete must find half of it too.
	if err := l.addVM(vm); err != nil {
		return VM{}, err
	}
	defer func() {
		if err != nil {
			after, cancel := context.WithTimeout(context.WithoutCancel(ctx), downTime)
			defer cancel()
			err = errors.Join(fmt.Errorf("creating VM %s: %w", s.Name, err), l.VMDelete(after, s.Name))
		}
	}()
	card := vm.card()
	card.MTU, card.AcceptRA = s.MTU, s.AcceptRA
	if err := l.plug(ctx, s.Host, "plug", card); err != nil {
		return VM{}, err
	}
	switch {
	case s.Qemu != nil:
		return l.bootMachine(ctx, vm, s)
	case len(s.Static) > 0:
		return vm, l.setStatic(first, s)
	case s.NoDHCP:
		return vm, nil
	}
	return vm, l.askDHCP(ctx, first, s)
}

// VMReplug plugs a VM's card in in another mode. The VM keeps running, and has no network
// for a moment.
func (l *Lab) VMReplug(ctx context.Context, name string, mode vif.Mode, mtu int) error {
	var vm VM
	err := l.update(func(s *state) (err error) {
		vm, err = s.vm(name)
		vm.Mode = mode
		for i := range s.VMs {
			if s.VMs[i].Name == name {
				s.VMs[i] = vm
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	card := vm.card()
	card.MTU = mtu
	return l.plug(ctx, vm.Host, "plug", card)
}

// card is the VM's card as vif knows it.
func (v VM) card() vif.Spec {
	s := vif.Spec{PortID: v.PortID, MAC: v.MAC, VMUUID: v.UUID, Mode: v.Mode, Guest: v.Name, Bridge: "br-int"}
	if v.Qemu {
		s.Guest = ""
	}
	return s
}

func (l *Lab) addVM(vm VM) error {
	return l.update(func(s *state) error {
		for _, v := range s.VMs {
			if v.Name == vm.Name {
				return fault.New(fault.Conflict, "VMExists", "lab %s already has a VM %s", l.name, vm.Name)
			}
			if v.PortID == vm.PortID {
				return fault.New(fault.Conflict, "PortInUse", "port %s is the card of VM %s", vm.PortID, v.Name)
			}
		}
		s.VMs = append(s.VMs, vm)
		return nil
	})
}

// plug has the lab's own program plug or unplug a card inside the host, where
// the names of guests are.
func (l *Lab) plug(ctx context.Context, host, word string, card vif.Spec) error {
	st, err := l.read()
	if err != nil {
		return err
	}
	in, err := json.Marshal(card)
	if err != nil {
		return err
	}
	argv := []string{st.Self, InitCommand, word}
	var said bytes.Buffer
	err = l.run(ctx, host, "", Streams{In: bytes.NewReader(in), Err: &said}, argv)
	if err != nil {
		return fmt.Errorf("%sging: %w: %s", word, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// guestNamespace opens the network namespace of a VM. It goes by the host's first
// process: the name is the host's own.
func guestNamespace(first int, guest string) (*link.Namespace, error) {
	return link.OpenPath(guestNetnsPath(first, guest))
}

func guestNetnsPath(first int, guest string) string {
	return inHost(first, link.NetnsDir+"/"+vif.GuestNetns(guest))
}

func (l *Lab) setStatic(first int, s VMSpec) error {
	n, err := guestNamespace(first, s.Name)
	if err != nil {
		return err
	}
	defer n.Close()
	for _, a := range s.Static {
		if err := n.EnsureAddr(vif.GuestDevice, a); err != nil {
			return err
		}
	}
	if !s.Gateway.IsValid() {
		return nil
	}
	return n.EnsureRoute(link.Route{
		Dst: netip.PrefixFrom(s.Gateway, 0).Masked(), Gateway: s.Gateway, Dev: vif.GuestDevice,
	})
}

// askDHCP runs busybox udhcpc in the VM. It returns when the lease is applied;
// the client goes on in the background and renews it.
func (l *Lab) askDHCP(ctx context.Context, first int, s VMSpec) error {
	patience := s.DHCP
	if patience == 0 {
		patience = dhcpTime
	}
	if err := os.MkdirAll(inHost(first, guestFile(s.Name, "")), 0o755); err != nil {
		return err
	}
	logFile := inHost(first, guestFile(s.Name, "dhcp.log"))
	log, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer log.Close()
	// One request a second; without -f it goes to the background with its lease,
	// with -n it gives up when it gets none.
	argv := []string{"busybox", "udhcpc", "-n", "-t", strconv.Itoa(max(1, int(patience.Seconds()))), "-T", "1", "-A", "1",
		"-i", vif.GuestDevice, "-s", leaseScript, "-x", "hostname:" + s.Name, "-O", "mtu", "-O", "staticroutes"}
	cmd, err := command(ctx, Streams{Out: log, Err: log}, argv)
	if err != nil {
		return err
	}
	cmd.Env = append(cmd.Env, guestVariable+"="+s.Name)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := startIn(first, s.Name, cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		said, _ := os.ReadFile(logFile)
		return fmt.Errorf("no address by DHCP in %s: %w: %s", patience, err, lastLine(said))
	}
	return nil
}

func lastLine(b []byte) []byte {
	b = bytes.TrimSpace(b)
	return b[bytes.LastIndexByte(b, '\n')+1:]
}

// VMLease returns what DHCP gave a VM that is a namespace; kind fault.NotFound
// when it has no lease.
func (l *Lab) VMLease(name string) (Lease, error) {
	var lease Lease
	v, err := l.namespaceVM(name)
	if err != nil {
		return lease, err
	}
	first, err := l.firstProcess(v.Host)
	if err != nil {
		return lease, err
	}
	b, err := readInHost(first, guestFile(name, "lease.json"))
	if err == nil && b == nil {
		err = fault.New(fault.NotFound, "LeaseNotFound", "VM %s has no lease", name)
	}
	if err != nil {
		return lease, err
	}
	return lease, json.Unmarshal(b, &lease)
}

// VMs returns the VMs of the lab.
func (l *Lab) VMs() ([]VM, error) {
	st, err := l.read()
	return st.VMs, err
}

func (l *Lab) namespaceVM(name string) (VM, error) {
	st, err := l.read()
	if err != nil {
		return VM{}, err
	}
	v, err := st.vm(name)
	if err == nil && v.Qemu {
		err = fault.New(fault.NotSupported, "VMIsMachine", "VM %s is a machine in qemu: see its console, %s", name, v.Console)
	}
	return v, err
}

// VMDelete ends a VM and removes every trace of it from its host.
func (l *Lab) VMDelete(ctx context.Context, name string) error {
	st, err := l.read()
	if err != nil {
		return err
	}
	vm, err := st.vm(name)
	if err != nil {
		return err
	}
	if first := st.Procs[procKey(vm.Host, firstProc)].running(); first != 0 {
		if err := l.removeVM(ctx, first, vm, st.Procs[machineKey(name)]); err != nil {
			return fmt.Errorf("deleting VM %s: %w", name, err)
		}
	}
	return l.update(func(s *state) error {
		var left []VM
		for _, v := range s.VMs {
			if v.Name != name {
				left = append(left, v)
			}
		}
		s.VMs = left
		delete(s.Procs, machineKey(name))
		return nil
	})
}

func (l *Lab) removeVM(ctx context.Context, first int, vm VM, machine process) error {
	var pids []int
	var err error
	if vm.Qemu {
		if pid := machine.running(); pid != 0 {
			pids = []int{pid}
		}
	} else if pids, err = inNetns(guestNetnsPath(first, vm.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, pid := range pids {
		g.Go(func() error { return signalAndWait(gctx, pid, unix.SIGKILL) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := l.plug(ctx, vm.Host, "unplug", vm.card()); err != nil {
		return err
	}
	return os.RemoveAll(inHost(first, guestFile(vm.Name, "")))
}
