package iptables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weft/internal/host/firewall"
)

// Attributes of conntrack messages (linux/netfilter/nfnetlink_conntrack.h) that
// the netlink package lacks.
const (
	ctSubsystem   = 1 // NFNL_SUBSYS_CTNETLINK
	ctaMarkMask   = 21
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4
	ctaICMPType   = 5
	ctaICMPCode   = 6
	ctaICMPv6Type = 8
	ctaICMPv6Code = 9
	nlaTypeMask   = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

// entry is a tracked connection as the kernel lists it.
type entry struct {
	conn   firewall.Conn
	reply  firewall.Conn // the direction back: other addresses when the connection is translated
	family uint8
	zone   uint16
	mark   uint32
	tuple  []byte // the original direction, as it came: it names the entry
}

// Cut is what CutConnections did.
type Cut struct {
	Killed int // connections that are no longer allowed, now marked
	Freed  int // marked connections that are allowed again, forgotten
}

// CutConnections ends the connections of a conntrack zone that allowed refuses:
// they get firewall.KilledMark, by which the rules drop both directions. A mark
// outlives the guest's next packet, a deleted entry does not: the kernel would
// take that packet for the first of a new connection. Marked connections that are
// allowed again are forgotten, so that their next packet is judged by the rules.
//
// It is called after the rules changed, with the policy of the same input.
// allowed is asked about each connection of the zone.
func (m *Manager) CutConnections(ctx context.Context, zone uint16, allowed func(firewall.Conn) bool) (Cut, error) {
	var cut Cut
	err := m.eachConnection(ctx, zone, func(e *entry) error {
		ok, marked := allowed(e.conn), e.mark&firewall.KilledMark != 0
		switch {
		case !ok && !marked:
			cut.Killed++
			return m.change(e, nl.IPCTNL_MSG_CT_NEW, nl.NewRtAttr(nl.CTA_MARK, nl.BEUint32Attr(firewall.KilledMark)),
				nl.NewRtAttr(ctaMarkMask, nl.BEUint32Attr(firewall.KilledMark)))
		case ok && marked:
			cut.Freed++
			return m.change(e, nl.IPCTNL_MSG_CT_DELETE)
		}
		return nil
	})
	if err != nil {
		return cut, fmt.Errorf("cutting connections of zone %d: %w", zone, err)
	}
	return cut, nil
}

// ForgetConnections deletes the connections of a conntrack zone for which gone
// returns true, and counts them: those of a port that has left the host.
func (m *Manager) ForgetConnections(ctx context.Context, zone uint16, gone func(firewall.Conn) bool) (int, error) {
	return m.ForgetTranslated(ctx, zone, func(c, _ firewall.Conn) bool { return gone(c) })
}

// ForgetTranslated is ForgetConnections for those that address translation rules: gone is told both
// directions as they are outside of the translation, so that reply's destination is what the source
// was translated to, and its source what the destination was.
func (m *Manager) ForgetTranslated(ctx context.Context, zone uint16, gone func(conn, reply firewall.Conn) bool) (int, error) {
	n := 0
	err := m.eachConnection(ctx, zone, func(e *entry) error {
		if !gone(e.conn, e.reply) {
			return nil
		}
		n++
		return m.change(e, nl.IPCTNL_MSG_CT_DELETE)
	})
	if err != nil {
		return n, fmt.Errorf("forgetting connections of zone %d: %w", zone, err)
	}
	return n, nil
}

// eachConnection lists the zone's entries of both families and calls f for
// each, in the namespace. An error of one entry does not stop the others.
func (m *Manager) eachConnection(ctx context.Context, zone uint16, f func(*entry) error) error {
	return m.ns.do(func() error {
		var errs []error
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			req := ctRequest(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, family, zone)
			msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
			if err != nil {
				errs = append(errs, fmt.Errorf("listing connections: %w", err))
				continue
			}
			for _, msg := range msgs {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				e, ok := parseEntry(msg)
				if !ok || e.zone != zone { // older kernels list all zones
					continue
				}
				if err := f(&e); err != nil && !errors.Is(err, unix.ENOENT) {
					errs = append(errs, err)
				}
			}
		}
		return errors.Join(errs...)
	})
}

func ctRequest(command, flags int, family uint8, zone uint16) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(ctSubsystem<<8|command, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	req.AddData(nl.NewRtAttr(nl.CTA_ZONE, binary.BigEndian.AppendUint16(nil, zone)))
	return req
}

// change sends a message about one entry, named by its tuple and zone.
func (m *Manager) change(e *entry, command int, attrs ...*nl.RtAttr) error {
	m.stats.writes.Add(1)
	req := ctRequest(command, unix.NLM_F_ACK, e.family, e.zone)
	req.AddData(nl.NewRtAttr(nl.CTA_TUPLE_ORIG|unix.NLA_F_NESTED, e.tuple))
	for _, a := range attrs {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	return err
}

// parseEntry reads one message of a listing; false when it is not whole.
func parseEntry(msg []byte) (entry, bool) {
	if len(msg) < 4 {
		return entry{}, false
	}
	e := entry{family: msg[0]}
	var reply []byte
	ok := attributes(msg[4:], func(typ uint16, v []byte) bool {
		switch {
		case typ == nl.CTA_TUPLE_ORIG:
			e.tuple = v
		case typ == nl.CTA_TUPLE_REPLY:
			reply = v
		case typ == nl.CTA_ZONE && len(v) == 2:
			e.zone = binary.BigEndian.Uint16(v)
		case typ == nl.CTA_MARK && len(v) == 4:
			e.mark = binary.BigEndian.Uint32(v)
		}
		return true
	})
	ok = ok && readTuple(e.tuple, &e.conn) && readTuple(reply, &e.reply)
	return e, ok && e.conn.Src.IsValid() && e.conn.Dst.IsValid()
}

// attributes calls f for each netlink attribute; false when the bytes are not
// whole attributes or f says so.
func attributes(b []byte, f func(typ uint16, value []byte) bool) bool {
	for len(b) > 0 {
		if len(b) < 4 {
			return false
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < 4 || n > len(b) {
			return false
		}
		if !f(binary.NativeEndian.Uint16(b[2:])&nlaTypeMask, b[4:n]) {
			return false
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return true
}

// readTuple reads one direction of a connection; false when it is not whole.
func readTuple(tuple []byte, c *firewall.Conn) bool {
	return attributes(tuple, func(typ uint16, v []byte) bool {
		switch typ {
		case nl.CTA_TUPLE_IP:
			return attributes(v, func(typ uint16, v []byte) bool { return readAddr(c, typ, v) })
		case nl.CTA_TUPLE_PROTO:
			return attributes(v, func(typ uint16, v []byte) bool { return readProto(c, typ, v) })
		}
		return true
	})
}

func readAddr(c *firewall.Conn, typ uint16, v []byte) bool {
	a, ok := netip.AddrFromSlice(v)
	switch typ {
	case nl.CTA_IP_V4_SRC, ctaIPv6Src:
		c.Src = a
	case nl.CTA_IP_V4_DST, ctaIPv6Dst:
		c.Dst = a
	}
	return ok
}

func readProto(c *firewall.Conn, typ uint16, v []byte) bool {
	switch {
	case len(v) == 1:
		switch typ {
		case nl.CTA_PROTO_NUM:
			c.Protocol = v[0]
		case ctaICMPType, ctaICMPv6Type:
			c.Type = v[0]
		case ctaICMPCode, ctaICMPv6Code:
			c.Code = v[0]
		}
	case len(v) == 2 && typ == nl.CTA_PROTO_SRC_PORT:
		c.SrcPort = binary.BigEndian.Uint16(v)
	case len(v) == 2 && typ == nl.CTA_PROTO_DST_PORT:
		c.DstPort = binary.BigEndian.Uint16(v)
	}
	return true
}
