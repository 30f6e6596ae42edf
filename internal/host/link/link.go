package link

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"weft/internal/fault"
	"weft/internal/model"
)

// Link is a network device as the kernel reports it. Two values are equal when
// nothing about the device changed.
type Link struct {
	Index   int    // the interface index, unique in its namespace
	Name    string // at most 15 characters
	Kind    string // "bridge", "veth", "tuntap"; "device" for hardware and loopback
	MAC     model.MAC
	MTU     int // bytes, without the Ethernet header
	Up      bool
	Carrier bool // RFC 2863 "up": set up and with something at the other end
	Promisc bool
	Master  int // index of the bridge that it is a port of, or 0
	Peer    int // index of a veth's other end, in that end's namespace, or 0
}

// Counters are a device's totals since it was made.
type Counters struct {
	RxPackets, RxBytes, RxDropped, RxErrors uint64
	TxPackets, TxBytes, TxDropped, TxErrors uint64
}

// Get returns a device by name; the error is of kind fault.NotFound when there is none.
func (n *Namespace) Get(name string) (Link, error) {
	l, err := n.byName(name)
	if err != nil {
		return Link{}, err
	}
	return linkOf(l), nil
}

// List returns all devices of the namespace.
func (n *Namespace) List() ([]Link, error) {
	for {
		links, err := n.handle.LinkList()
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue // the list changed while it was read: it may lack a device
		}
		if err != nil {
			return nil, fmt.Errorf("listing links: %w", err)
		}
		out := make([]Link, 0, len(links))
		for _, l := range links {
			out = append(out, linkOf(l))
		}
		return out, nil
	}
}

// skipStats asks for devices without their counters (RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h).
const skipStats = 1 << 3

// Names lists the names of all devices of the namespace, at a small part of what List takes.
func (n *Namespace) Names() (names []string, err error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStats)))
	err = n.Do(func() error {
		for {
			names = nil
			err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(m []byte) bool {
				names = append(names, nameIn(m))
				return true
			})
			if !errors.Is(err, netlink.ErrDumpInterrupted) { // else the list changed while it was read
				return err
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	return names, nil
}

// nameIn finds the name in a message about a device (rtnetlink(7)): IFLA_IFNAME is one of the attributes after ifinfomsg.
func nameIn(m []byte) string {
	for b := m[min(len(m), unix.SizeofIfInfomsg):]; len(b) >= unix.SizeofRtAttr; {
		size, kind := int(nl.NativeEndian().Uint16(b)), nl.NativeEndian().Uint16(b[2:])
		if size < unix.SizeofRtAttr || size > len(b) {
			return ""
		}
		if kind == unix.IFLA_IFNAME {
			return nl.BytesToString(b[unix.SizeofRtAttr:size])
		}
		b = b[min(len(b), (size+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
	return ""
}

// Counters returns a device's counters.
func (n *Namespace) Counters(name string) (Counters, error) {
	l, err := n.byName(name)
	if err != nil {
		return Counters{}, err
	}
	s := l.Attrs().Statistics
	if s == nil {
		return Counters{}, nil
	}
	return Counters{
		RxPackets: s.RxPackets, RxBytes: s.RxBytes, RxDropped: s.RxDropped, RxErrors: s.RxErrors,
		TxPackets: s.TxPackets, TxBytes: s.TxBytes, TxDropped: s.TxDropped, TxErrors: s.TxErrors,
	}, nil
}

// SetUp sets a device up.
func (n *Namespace) SetUp(name string) error {
	return n.change(name, "setting up", func(l netlink.Link, is Link) error {
		if is.Up {
			return nil
		}
		return n.handle.LinkSetUp(l)
	})
}

// SetDown sets a device down.
func (n *Namespace) SetDown(name string) error {
	return n.change(name, "setting down", func(l netlink.Link, is Link) error {
		if !is.Up {
			return nil
		}
		return n.handle.LinkSetDown(l)
	})
}

// DisableARP has a device neither ask nor answer who has an address, by ARP or neighbour discovery: frames
// for whoever is on its link get its own hardware address.
func (n *Namespace) DisableARP(name string) error {
	return n.change(name, "switching off ARP of", func(l netlink.Link, _ Link) error {
		if l.Attrs().RawFlags&unix.IFF_NOARP != 0 {
			return nil
		}
		return n.handle.LinkSetARPOff(l)
	})
}

// SetMTU sets the largest packet, in bytes without the Ethernet header.
func (n *Namespace) SetMTU(name string, mtu int) error {
	return n.change(name, "setting mtu of", func(l netlink.Link, is Link) error {
		if is.MTU == mtu {
			return nil
		}
		return n.handle.LinkSetMTU(l, mtu)
	})
}

// SetMAC sets the hardware address.
func (n *Namespace) SetMAC(name string, mac model.MAC) error {
	return n.change(name, "setting address of", func(l netlink.Link, is Link) error {
		if is.MAC == mac {
			return nil
		}
		return n.handle.LinkSetHardwareAddr(l, mac[:])
	})
}

// SetPromisc has a device take frames for other addresses too, or no longer.
func (n *Namespace) SetPromisc(name string, on bool) error {
	return n.change(name, "setting promiscuous mode of", func(l netlink.Link, is Link) error {
		switch {
		case is.Promisc == on:
			return nil
		case on:
			return n.handle.SetPromiscOn(l)
		default:
			return n.handle.SetPromiscOff(l)
		}
	})
}

// SetMaster makes a device a port of a bridge.
func (n *Namespace) SetMaster(name, bridge string) error {
	b, err := n.byName(bridge)
	if err != nil {
		return err
	}
	return n.change(name, "adding to bridge", func(l netlink.Link, is Link) error {
		if is.Master == b.Attrs().Index {
			return nil
		}
		return n.handle.LinkSetMaster(l, b)
	})
}

// ClearMaster takes a device out of its bridge.
func (n *Namespace) ClearMaster(name string) error {
	return n.change(name, "taking from its bridge", func(l netlink.Link, is Link) error {
		if is.Master == 0 {
			return nil
		}
		return n.handle.LinkSetNoMaster(l)
	})
}

// Delete deletes devices, those that are there; of a veth either end's name will
// do. Deleting waits for the kernel (17 ms a pair, 32 ms a bridge), so several
// are deleted side by side.
func (n *Namespace) Delete(names ...string) error {
	if len(names) == 1 {
		return deleteLink(n.handle, names[0])
	}
	// A handle is one socket and answers one request at a time.
	const most = 8
	work := make(chan string)
	g, ctx := errgroup.WithContext(context.Background())
	g.Go(func() error {
		defer close(work)
		for _, name := range names {
			select {
			case work <- name:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	for range min(most, len(names)) {
		g.Go(func() error {
			h, err := netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE)
			if err != nil {
				return fmt.Errorf("netlink socket: %w", err)
			}
			defer h.Close()
			for name := range work {
				if err := deleteLink(h, name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func deleteLink(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkDel(l)
	}
	// Gone between the two, with its other end or by someone else: as wanted.
	if err == nil || isNoLink(err) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("deleting link %s: %w", name, err)
}

func (n *Namespace) change(name, doing string, fn func(netlink.Link, Link) error) error {
	l, err := n.byName(name)
	if err != nil {
		return err
	}
	if err := fn(l, linkOf(l)); err != nil {
		return fmt.Errorf("%s link %s: %w", doing, name, err)
	}
	return nil
}

func (n *Namespace) byName(name string) (netlink.Link, error) {
	l, err := n.handle.LinkByName(name)
	switch {
	case isNoLink(err):
		return nil, fault.New(fault.NotFound, "LinkNotFound", "no link %s", name).Because(err)
	case err != nil:
		return nil, fmt.Errorf("looking up link %s: %w", name, err)
	}
	return l, nil
}

func isNoLink(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none)
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Index: a.Index, Name: a.Name, Kind: l.Type(), MTU: a.MTU,
		Up: a.Flags&net.FlagUp != 0, Carrier: a.OperState == netlink.OperUp,
		Promisc: a.RawFlags&unix.IFF_PROMISC != 0,
		Master:  a.MasterIndex,
	}
	if len(a.HardwareAddr) == len(out.MAC) {
		copy(out.MAC[:], a.HardwareAddr)
	}
	if out.Kind == "veth" {
		out.Peer = a.ParentIndex
	}
	return out
}
