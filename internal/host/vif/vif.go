// Package vif plugs a guest's network card into the host's switch and unplugs
// it, as Nova's os-vif does for libvirt: same devices, same names, same
// external_ids, so that an agent wires both alike.
//
// It does not decide what the port may do (the agent does, when it sees the
// plug), and it starts no guest. Called by `weft host plug` and by the lab.
//
// In hybrid mode the chain is
//
//	guest eth0 - tap<id> - qbr<id> - qvb<id>/qvo<id> - br-int
//
// where the Linux bridge is there for iptables to filter on the tap; in direct
// mode the tap itself is a port of br-int.
package vif

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/model"
)

// Mode is how a card reaches the switch.
type Mode string

// The modes.
const (
	Hybrid Mode = "hybrid" // through a Linux bridge, which iptables filters
	Direct Mode = "direct" // straight onto the switch, which filters itself
)

// GuestDevice is what a guest in a namespace calls its card.
const GuestDevice = "eth0"

// userspace is the datapath that reads a device's frames beside the kernel.
const userspace = "netdev"

// undoTime bounds the cleaning up after a plug that went wrong.
const undoTime = 10 * time.Second

// Spec is the card to plug.
type Spec struct {
	PortID model.PortID `json:"port_id"`
	MAC    model.MAC    `json:"mac"`
	VMUUID model.UUID   `json:"vm_uuid"`
	MTU    int          `json:"mtu"` // bytes; 0: the kernel's choice
	Mode   Mode         `json:"mode"`
	// Guest names a guest that is a network namespace (see GuestNetns), which is
	// made. Empty: a real tap is made, for a hypervisor to open.
	Guest string `json:"guest,omitempty"`
	// AcceptRA has a guest in a namespace take IPv6 addresses from router advertisements.
	AcceptRA bool   `json:"accept_ra,omitempty"`
	Bridge   string `json:"bridge"` // of the switch, "br-int"
}

// Names are the devices of a port on its host.
type Names struct {
	Tap       string // the host's end of the guest's card
	Bridge    string // the Linux bridge of hybrid mode
	BridgeEnd string // its port towards the switch
	SwitchEnd string // the switch's port towards the bridge
}

// NamesOf returns Neutron's device names for a port.
func NamesOf(id model.PortID) Names {
	s := id.DeviceSuffix()
	return Names{Tap: "tap" + s, Bridge: "qbr" + s, BridgeEnd: "qvb" + s, SwitchEnd: "qvo" + s}
}

// SwitchPort is the name of the port on the switch in a mode.
func (n Names) SwitchPort(m Mode) string {
	if m == Hybrid {
		return n.SwitchEnd
	}
	return n.Tap
}

// GuestNetns is the network namespace of a guest.
func GuestNetns(guest string) string { return "vm-" + guest }

// Port is a port of the switch with what os-vif writes about it.
type Port struct {
	Bridge, Name string
	PortID       model.PortID // external_ids:iface-id
	MAC          model.MAC    // external_ids:attached-mac
	VMUUID       model.UUID   // external_ids:vm-uuid
	MTU          int          // mtu_request; 0: none
	// Reopen says that the switch has a port of this name for a device that is
	// gone. It must notice the end of that one before it can use the new one.
	Reopen bool
}

// Bridge is what plugging wants to know of a bridge of the switch.
type Bridge struct {
	Datapath string   // datapath_type: "system" (or "") or "netdev"
	Ports    []string // names
}

// Switch is what plugging needs of Open vSwitch.
type Switch interface {
	// Bridge returns a bridge as the database has it.
	Bridge(ctx context.Context, name string) (Bridge, error)
	// AddPort adds a port, or brings the one that is there to this form, in one transaction.
	AddPort(ctx context.Context, p Port) error
	// DelPorts deletes ports, those that are there.
	DelPorts(ctx context.Context, names ...string) error
}

// Plugger plugs cards into one host.
type Plugger struct {
	links *link.Namespace
	sw    Switch
}

// New returns a Plugger for the host whose network namespace links is.
func New(links *link.Namespace, sw Switch) *Plugger { return &Plugger{links: links, sw: sw} }

// Validate returns what is wrong with a spec, of kind fault.Invalid.
func (s Spec) Validate() error {
	invalid := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "InvalidVif", format, args...)
	}
	switch {
	case s.PortID.IsZero():
		return invalid("a card needs a port id")
	case s.MAC.IsZero() || s.MAC.IsMulticast():
		return invalid("%q is no address for a card", s.MAC)
	case s.MTU != 0 && (s.MTU < 68 || s.MTU > 65535):
		return invalid("mtu %d is not between 68 and 65535", s.MTU)
	case s.Mode != Hybrid && s.Mode != Direct:
		return invalid("plug mode %q is neither %s nor %s", s.Mode, Hybrid, Direct)
	case s.Bridge == "":
		return invalid("a card needs a bridge to be plugged into")
	}
	return nil
}

// Plug makes the devices of a card and then, last and in one transaction, the
// port on the switch: who sees the port finds everything behind it ready. To
// plug again what is plugged changes only what differs; in the other mode, the
// guest keeps its card and is without a network for a moment. When it fails, what
// this call made is gone again, and what was there before stays.
func (p *Plugger) Plug(ctx context.Context, s Spec) (err error) {
	if err := s.Validate(); err != nil {
		return err
	}
	// Asked first: without its bridge nothing need be made.
	bridge, err := p.sw.Bridge(ctx, s.Bridge)
	if err != nil {
		return fmt.Errorf("plugging port %s: %w", s.PortID, err)
	}
	var made trail
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("plugging port %s: %w", s.PortID, err), p.undo(ctx, made))
		}
	}()
	names := NamesOf(s.PortID)
	if err := p.guestSide(s, names, &made); err != nil {
		return err
	}
	if err := p.leave(ctx, s.Mode, names, bridge); err != nil {
		return err
	}
	fresh, err := p.hostSide(s, names, &made)
	if err != nil {
		return err
	}
	port := names.SwitchPort(s.Mode)
	if fresh { // else a failure must leave the port that was there as it was
		made.ports = append(made.ports, port)
		if bridge.Datapath == userspace {
			made.quieted = append(made.quieted, port)
		}
	}
	if bridge.Datapath == userspace {
		if err := p.links.Quiet(ctx, port); err != nil {
			return err
		}
	}
	return p.sw.AddPort(ctx, Port{
		Bridge: s.Bridge, Name: port, PortID: s.PortID, MAC: s.MAC, VMUUID: s.VMUUID, MTU: s.MTU,
		Reopen: fresh && slices.Contains(bridge.Ports, port),
	})
}

// guestSide makes the tap and, for a guest in a namespace, its card.
func (p *Plugger) guestSide(s Spec, names Names, made *trail) error {
	if s.Guest == "" {
		created, err := p.links.EnsureTap(names.Tap, s.MTU)
		made.link(created, names.Tap)
		return err
	}
	netns := GuestNetns(s.Guest)
	created, err := link.EnsureNetns(netns)
	if err != nil {
		return err
	}
	if created {
		made.netns = netns
	}
	guest, err := link.OpenNetns(netns)
	if err != nil {
		return err
	}
	defer guest.Close()
	if err := p.cardIsOurs(guest, s.Guest, names.Tap); err != nil {
		return err
	}
	// The host's end gets the highest address, as libvirt gives it: a bridge
	// takes the lowest of its ports', which must not change with each guest.
	tapMAC := s.MAC
	tapMAC[0] = 0xfe
	created, err = p.links.EnsureVeth(link.Veth{
		Name: names.Tap, Peer: GuestDevice, PeerIn: guest, MTU: s.MTU, MAC: tapMAC, PeerMAC: s.MAC,
	})
	made.link(created, names.Tap)
	if err != nil {
		return err
	}
	return startGuestCard(guest, s.AcceptRA)
}

// cardIsOurs fails when the guest's card belongs to another port.
func (p *Plugger) cardIsOurs(guest *link.Namespace, name, tap string) error {
	card, err := guest.Get(GuestDevice)
	if err != nil {
		if fault.Of(err) == fault.NotFound {
			return nil
		}
		return err
	}
	if t, err := p.links.Get(tap); err == nil && t.Index == card.Peer {
		return nil
	}
	return fault.New(fault.Conflict, "GuestHasCard", "guest %s already has a card that is not %s", name, tap)
}

func startGuestCard(guest *link.Namespace, acceptRA bool) error {
	ra := "0"
	if acceptRA {
		ra = "1"
	}
	conf := "net/ipv6/conf/" + GuestDevice
	err := errors.Join(
		guest.TrySysctls(ra, conf+"/accept_ra", conf+"/autoconf"),
		// The link-local address is usable at once; addresses are the server's to keep apart.
		guest.TrySysctls("0", conf+"/dad_transmits"),
		guest.DisableTxOffload(GuestDevice),
	)
	if err != nil {
		return err
	}
	if err := guest.SetUp("lo"); err != nil {
		return err
	}
	return guest.SetUp(GuestDevice)
}

// leave takes a card out of the mode that it is not to be in.
func (p *Plugger) leave(ctx context.Context, m Mode, names Names, bridge Bridge) error {
	if m == Hybrid {
		if !slices.Contains(bridge.Ports, names.Tap) {
			return nil
		}
		return p.remove(ctx, trail{ports: []string{names.Tap}, quieted: []string{names.Tap}})
	}
	if !slices.Contains(bridge.Ports, names.SwitchEnd) {
		return nil
	}
	old := trail{links: []string{names.SwitchEnd, names.Bridge}, ports: []string{names.SwitchEnd}}
	if bridge.Datapath == userspace {
		old.quieted = old.ports
	}
	return p.remove(ctx, old)
}

// hostSide sets the tap up and, in hybrid mode, joins it with the switch by a
// bridge and a pair. It reports whether the switch's device is new.
func (p *Plugger) hostSide(s Spec, names Names, made *trail) (fresh bool, err error) {
	if s.Mode == Direct {
		if err := p.links.DisableIPv6(names.Tap); err != nil {
			return false, err
		}
		return slices.Contains(made.links, names.Tap), p.links.SetUp(names.Tap)
	}
	// Two ports and no address to learn: see link.Bridge.
	created, err := p.links.EnsureBridge(link.Bridge{Name: names.Bridge, MTU: s.MTU, NoLearning: true})
	made.link(created, names.Bridge)
	if err != nil {
		return false, err
	}
	fresh, err = p.links.EnsureVeth(link.Veth{Name: names.BridgeEnd, Peer: names.SwitchEnd, MTU: s.MTU})
	made.link(fresh, names.BridgeEnd)
	if err != nil {
		return false, err
	}
	// Before anything is up: no device of the host says a word of its own.
	if err := p.links.DisableIPv6(names.Tap, names.Bridge, names.BridgeEnd, names.SwitchEnd); err != nil {
		return false, err
	}
	for _, port := range []string{names.BridgeEnd, names.Tap} {
		if err := p.links.SetMaster(port, names.Bridge); err != nil {
			return false, err
		}
	}
	for _, end := range []string{names.BridgeEnd, names.SwitchEnd} {
		if err := p.links.SetPromisc(end, true); err != nil {
			return false, err
		}
	}
	for _, dev := range []string{names.Bridge, names.BridgeEnd, names.SwitchEnd, names.Tap} {
		if err := p.links.SetUp(dev); err != nil {
			return false, err
		}
	}
	return fresh, nil
}

// Unplug removes every trace of a port from the host, whatever of it is there,
// and the namespace of its guest when one is named. It goes on when one step
// fails and returns all errors.
func (p *Plugger) Unplug(ctx context.Context, id model.PortID, bridge, guest string) error {
	names := NamesOf(id)
	all := trail{
		links: []string{names.SwitchEnd, names.Tap, names.Bridge, names.BridgeEnd},
		ports: []string{names.SwitchEnd, names.Tap},
	}
	if guest != "" {
		all.netns = GuestNetns(guest)
	}
	// Of a bridge that is gone nobody knows how its frames were read.
	if b, err := p.sw.Bridge(ctx, bridge); err != nil || b.Datapath == userspace {
		all.quieted = all.ports
	}
	if err := p.remove(ctx, all); err != nil {
		return fmt.Errorf("unplugging port %s: %w", id, err)
	}
	return nil
}

// trail is what there is to remove.
type trail struct {
	links, quieted, ports []string
	netns                 string
}

func (t *trail) link(created bool, name string) {
	if created {
		t.links = append(t.links, name)
	}
}

// undo removes what a failed plug made, also when the caller's time is over.
func (p *Plugger) undo(ctx context.Context, t trail) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return p.remove(ctx, t)
}

func (p *Plugger) remove(ctx context.Context, t trail) error {
	var errs []error
	// The switch first: it shall not look for devices that are going.
	if len(t.ports) > 0 {
		errs = append(errs, p.sw.DelPorts(ctx, t.ports...))
	}
	errs = append(errs, p.links.Delete(t.links...))
	if len(t.quieted) > 0 {
		errs = append(errs, p.links.Unquiet(ctx, t.quieted...))
	}
	if t.netns != "" {
		errs = append(errs, link.DeleteNetns(t.netns))
	}
	return errors.Join(errs...)
}
