package firewall

import (
	"errors"
	"fmt"
	"net/netip"

	"weft/internal/host/iptables/table"
	"weft/internal/model"
)

// KilledMark is the conntrack mark of connections that a removed rule had
// allowed. Deleting such an entry is not enough: the next packet that the guest
// sends would be taken for the first of a new, allowed connection
// (nf_conntrack_tcp_loose). Neutron's Open vSwitch firewall uses the same mark
// for the same reason.
const KilledMark = 0x1

// PortInput is a port with a TAP on a Linux bridge, for Hybrid, or on br-int, for
// Native.
type PortInput struct {
	View *model.PortView
	// Network is the network that the port is on; nil when the view lacks it:
	// then nobody is known to answer DHCP.
	Network *model.NetworkView
	// Zone is the conntrack zone: 4096 plus the network's VLAN id on the host, or
	// that id itself for Native. Zero is the host's own zone and refused.
	Zone uint16
	// Tap and QVB name the devices on both sides of the bridge. Empty: derived
	// from the port's id.
	Tap, QVB string
	// OFPort is the OpenFlow number of the port's device on br-int, for Native.
	OFPort uint32
	// Routers are link-local addresses that may send router advertisements to
	// the port, beside the DHCP port's and link-local gateways.
	Routers []netip.Addr
}

// Input is what the rules of a host follow from. Nothing of it is changed, and
// views must not be changed after they were passed: a Cache knows them by
// their pointers.
type Input struct {
	Ports   []PortInput // in any order, each once
	Groups  map[model.SecurityGroupID]*model.GroupView
	Members map[model.MemberKey]*model.MemberView
}

// Output is the rules and sets for one host.
type Output struct {
	V4, V6 table.Ruleset
	Sets   []table.Set // sorted by name
	Taps   []string    // of the ports that are filtered, in order: nothing passes them that the rules cannot see
	// Problems tells what is wrong with a port; what is right of it is in force. A
	// port that has a *PortError passes nothing.
	Problems map[model.PortID]error
	// MemberProblems are members of which not every prefix could be used.
	MemberProblems map[model.MemberKey]error
	// Chains leads from a chain to its port, for errors that the kernel reports.
	Chains map[string]model.PortID
}

// PortError says that a port passes no packet because it cannot be filtered
// as a whole.
type PortError struct{ Why string }

func (e *PortError) Error() string { return "the port passes nothing: " + e.Why }

// RuleError says that one rule of a port's groups matches nothing.
type RuleError struct {
	Rule model.SecurityGroupRuleID
	Why  string
}

func (e *RuleError) Error() string { return fmt.Sprintf("rule %s matches nothing: %s", e.Rule, e.Why) }

// GroupError says that a group that the port is in is not in the view.
type GroupError struct{ Group model.SecurityGroupID }

func (e *GroupError) Error() string {
	return fmt.Sprintf("security group %s is unknown and allows nothing", e.Group)
}

// PairError says that a fixed address or an address pair is left out.
type PairError struct{ Pair, Why string }

func (e *PairError) Error() string {
	return fmt.Sprintf("nothing may be sent from %s: %s", e.Pair, e.Why)
}

// errMember is the reason of a MemberProblem.
var errMember = errors.New("not a valid prefix")

func familyOf(a netip.Addr) table.Family {
	if a.Is4() {
		return table.IPv4
	}
	return table.IPv6
}

// usable reports whether a prefix can stand in a rule: valid, without a zone,
// and not an IPv4 address in IPv6's clothes, which would be of both families.
func usable(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Zone() == "" && !p.Addr().Is4In6()
}

// linkLocal is the link-local address that a guest forms from its MAC
// (RFC 4291 section 2.5.6 and appendix A).
func linkLocal(m model.MAC) netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80}
	eui := m.EUI64()
	copy(a[8:], eui[:])
	return netip.AddrFrom16(a)
}
