package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/model"
)

// Bridge says how a Linux bridge shall be.
type Bridge struct {
	Name string
	MTU  int // 0: the kernel's choice
	// NoLearning has the bridge forward every frame to all other ports: it never
	// looks an address up. That is what a bridge with two ports wants; a frame
	// that comes back cannot mislead it.
	NoLearning bool
	// MulticastSnooping has the bridge follow IGMP and MLD.
	MulticastSnooping bool
}

// EnsureBridge makes a bridge without spanning tree and without forwarding
// delay, or brings the one that is there to this form. It does not set it up.
func (n *Namespace) EnsureBridge(b Bridge) (created bool, err error) {
	created, err = n.ensure(b.Name, "bridge", func() error {
		return n.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs(b.Name, b.MTU, model.MAC{})})
	})
	if err != nil {
		return false, err
	}
	if err := n.bridgeOptions(b); err != nil {
		return created, fmt.Errorf("setting up bridge %s: %w", b.Name, err)
	}
	if b.MTU == 0 {
		return created, nil
	}
	return created, n.SetMTU(b.Name, b.MTU)
}

// bridgeOptions writes the options in one message. The library knows only some
// of them, so the message is put together here (linux/if_link.h, IFLA_BR_*).
func (n *Namespace) bridgeOptions(b Bridge) error {
	l, err := n.byName(b.Name)
	if err != nil {
		return err
	}
	ageing := uint32(300 * 100) // in hundredths of a second: the kernel's default
	if b.NoLearning {
		ageing = 0
	}
	snooping := byte(0)
	if b.MulticastSnooping {
		snooping = 1
	}
	return n.Do(func() error {
		req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
		msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
		msg.Index = int32(l.Attrs().Index)
		req.AddData(msg)
		info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
		info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("bridge"))
		data := info.AddRtAttr(nl.IFLA_INFO_DATA, nil)
		data.AddRtAttr(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0))
		data.AddRtAttr(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0))
		data.AddRtAttr(nl.IFLA_BR_AGEING_TIME, nl.Uint32Attr(ageing))
		data.AddRtAttr(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(snooping))
		req.AddData(info)
		_, err := req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
}

// Veth says how a pair of virtual Ethernet devices shall be.
type Veth struct {
	Name, Peer string
	// PeerIn is the namespace of the other end, made there at once; nil: the same.
	PeerIn       *Namespace
	MTU          int // of both ends; 0: the kernel's choice
	MAC, PeerMAC model.MAC
}

// EnsureVeth makes a pair, or brings the one that is there to this form. A
// device of that name whose other end is not where it should be is replaced.
// It does not set the ends up.
func (n *Namespace) EnsureVeth(v Veth) (created bool, err error) {
	far := n
	if v.PeerIn != nil {
		far = v.PeerIn
	}
	paired, err := n.paired(v, far)
	if err != nil {
		return false, err
	}
	if !paired {
		// What is left of an earlier pair keeps one of the names taken.
		if err := n.Delete(v.Name); err != nil {
			return false, err
		}
		if err := far.Delete(v.Peer); err != nil {
			return false, err
		}
		pair := &netlink.Veth{
			LinkAttrs: attrs(v.Name, v.MTU, v.MAC), PeerName: v.Peer,
			PeerNamespace: netlink.NsFd(far.fd), PeerMTU: uint32(v.MTU),
		}
		if !v.PeerMAC.IsZero() {
			pair.PeerHardwareAddr = v.PeerMAC[:]
		}
		if err := n.handle.LinkAdd(pair); err != nil {
			return false, fmt.Errorf("making veth pair %s and %s: %w", v.Name, v.Peer, err)
		}
		created = true
	}
	if err := n.set(v.Name, v.MTU, v.MAC); err != nil {
		return created, err
	}
	return created, far.set(v.Peer, v.MTU, v.PeerMAC)
}

// paired reports whether both ends are there and belong together. A device of
// another kind under one of the names is somebody else's: an error.
func (n *Namespace) paired(v Veth, far *Namespace) (bool, error) {
	a, err := n.vethOrNone(v.Name)
	if err != nil {
		return false, err
	}
	b, err := far.vethOrNone(v.Peer)
	if err != nil {
		return false, err
	}
	return a.Index != 0 && a.Peer == b.Index && b.Peer == a.Index, nil
}

func (n *Namespace) vethOrNone(name string) (Link, error) {
	l, err := n.Get(name)
	switch {
	case fault.Of(err) == fault.NotFound:
		return Link{}, nil
	case err != nil:
		return Link{}, err
	case l.Kind != "veth":
		return Link{}, fmt.Errorf("link %s is a %s, not a veth", name, l.Kind)
	}
	return l, nil
}

// EnsureTap makes a persistent tap, to be opened by a hypervisor (with
// vnet_hdr=off where Open vSwitch's userspace datapath reads the frames).
func (n *Namespace) EnsureTap(name string, mtu int) (created bool, err error) {
	created, err = n.ensure(name, "tuntap", func() error {
		// /dev/net/tun makes the device in the namespace of the thread that opens it.
		return n.Do(func() error { return makeTap(name) })
	})
	if err != nil {
		return false, err
	}
	return created, n.set(name, mtu, model.MAC{})
}

// makeTap follows Documentation/networking/tuntap.rst of the kernel.
func makeTap(name string) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
}

// ensure makes a device that is not there; one of another kind is an error.
func (n *Namespace) ensure(name, kind string, add func() error) (created bool, err error) {
	is, err := n.Get(name)
	if fault.Of(err) == fault.NotFound && err != nil {
		err = add()
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return false, fmt.Errorf("making %s %s: %w", kind, name, err)
		}
		is, err = n.Get(name) // someone was faster
	}
	if err != nil {
		return false, err
	}
	if is.Kind != kind {
		return false, fmt.Errorf("link %s is a %s, not a %s", name, is.Kind, kind)
	}
	return false, nil
}

func (n *Namespace) set(name string, mtu int, mac model.MAC) error {
	if mtu != 0 {
		if err := n.SetMTU(name, mtu); err != nil {
			return err
		}
	}
	if mac.IsZero() {
		return nil
	}
	return n.SetMAC(name, mac)
}

func attrs(name string, mtu int, mac model.MAC) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, mtu
	if !mac.IsZero() {
		a.HardwareAddr = mac[:]
	}
	return a
}
