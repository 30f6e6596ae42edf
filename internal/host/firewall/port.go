package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/internal/host/iptables/table"
	"weft/internal/host/standin"
	"weft/internal/model"
)

// mode is what a port's traffic meets.
type mode uint8

const (
	filtered mode = iota // the groups' rules
	open                 // no port security: everything passes
	shut                 // admin_state_up is false, or the port cannot be filtered
)

// portRules is a port that has been checked: the text and the decisions of
// Policy both follow from it.
type portRules struct {
	*groupRules // without any when the mode is not filtered

	id       model.PortID
	mode     mode
	zone     uint16
	tap, qvb string
	mac      model.MAC
	pairs    []pair
	dhcp     []netip.Addr // who may send DHCP replies
	routers  []netip.Addr // who may send router advertisements
	services []service
	ofport   uint32  // on br-int, for flows
	wrong    []error // what is wrong with the port itself
	problem  error
}

// pair is a source that the port may send from. A prefix of length 0 is any
// address of its family.
type pair struct {
	prefix netip.Prefix
	mac    model.MAC
}

// checkPort reads a port and the rules of its groups. It never fails: what is wrong is in
// the problem, and the port is shut as far as needed.
func checkPort(in *PortInput, rules *groupRules) portRules {
	v := in.View
	suffix := v.ID.DeviceSuffix()
	p := portRules{groupRules: &groupRules{}, id: v.ID, zone: in.Zone, ofport: in.OFPort, tap: "tap" + suffix, qvb: "qvb" + suffix, mac: v.MAC}
	why := ""
	switch {
	case in.Tap != "" && !isDevice(in.Tap), in.QVB != "" && !isDevice(in.QVB):
		why = "its devices have no proper names"
	case v.MAC.IsZero() || v.MAC.IsMulticast():
		why = "it has no proper MAC"
	case in.Zone == 0 && v.PortSecurity:
		why = "it has no conntrack zone"
	}
	if isDevice(in.Tap) {
		p.tap = in.Tap
	}
	if isDevice(in.QVB) {
		p.qvb = in.QVB
	}
	if why != "" {
		p.mode, p.problem = shut, &PortError{why}
		return p
	}
	if !v.AdminStateUp || in.Network != nil && !in.Network.AdminStateUp {
		p.mode = shut
		return p
	}
	if !v.PortSecurity {
		p.mode = open
		return p
	}
	p.pairs, p.wrong = pairsOf(v)
	p.dhcp, p.routers = serversOf(in)
	p.services = servicesOf(in)
	p.setGroups(rules)
	return p
}

// setGroups puts a filtered port under the rules of its groups.
func (p *portRules) setGroups(rules *groupRules) {
	p.groupRules = rules
	p.problem = errors.Join(slices.Concat(p.wrong, rules.problems)...)
}

// pairsOf lists what the port may send from: its addresses with its MAC, its
// address pairs, and the link-local address of each of the MACs. A port that has
// neither address nor pair may send from any address with its MAC, as Neutron
// has it ("unaddressed port").
func pairsOf(v *model.PortView) (pairs []pair, problems []error) {
	add := func(q pair) {
		if !slices.Contains(pairs, q) {
			pairs = append(pairs, q)
		}
	}
	for _, f := range v.FixedIPs {
		a := f.Addr
		if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
			problems = append(problems, &PairError{a.String(), "not a valid address"})
			continue
		}
		add(pair{netip.PrefixFrom(a, a.BitLen()), v.MAC})
	}
	for _, q := range v.AddressPairs {
		switch {
		case !usable(q.Prefix):
			problems = append(problems, &PairError{q.Prefix.String(), "not a valid prefix"})
		case q.MAC.IsZero() || q.MAC.IsMulticast():
			problems = append(problems, &PairError{q.Prefix.String(), "its MAC is not valid"})
		default:
			add(pair{q.Prefix.Masked(), q.MAC})
		}
	}
	if len(v.FixedIPs) == 0 && len(v.AddressPairs) == 0 {
		add(pair{netip.PrefixFrom(netip.IPv4Unspecified(), 0), v.MAC})
		add(pair{netip.PrefixFrom(netip.IPv6Unspecified(), 0), v.MAC})
	}
	for _, m := range macsOf(v.MAC, pairs) {
		add(pair{netip.PrefixFrom(linkLocal(m), 128), m})
	}
	return pairs, problems
}

// macsOf lists the MACs that the port may send from, its own first.
func macsOf(own model.MAC, pairs []pair) []model.MAC {
	macs := []model.MAC{own}
	for _, q := range pairs {
		if !slices.Contains(macs, q.mac) {
			macs = append(macs, q.mac)
		}
	}
	return macs
}

// serversOf lists who may answer the port's DHCP requests and who may
// advertise itself as a router: what the host itself answers as, and routers.
// Both answer from link-local addresses over IPv6 (RFC 4861 section 4.2, RFC 8415).
func serversOf(in *PortInput) (dhcp, routers []netip.Addr) {
	routers = append(routers, in.Routers...)
	if n := in.Network; n != nil {
		dhcp = append(dhcp, n.DHCPAddrs...)
		for _, s := range n.Subnets {
			if !s.CIDR.Addr().Is6() {
				continue
			}
			if !n.DHCPMAC.IsZero() {
				dhcp = append(dhcp, linkLocal(n.DHCPMAC))
				routers = append(routers, linkLocal(n.DHCPMAC))
			}
			routers = append(routers, s.Gateway)
		}
	}
	dhcp = slices.DeleteFunc(dhcp, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" || a.Is4In6() })
	routers = slices.DeleteFunc(routers, func(a netip.Addr) bool { return !a.Is6() || !a.IsLinkLocalUnicast() || a.Zone() != "" })
	return unique(dhcp), unique(routers)
}

func unique(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// isDevice reports whether a name is a network device's and nothing more to
// iptables, which takes "tap+" for every name that begins with "tap".
func isDevice(name string) bool {
	if name == "" || len(name) > 15 || name[0] == '-' {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.", c) >= 0) {
			return false
		}
	}
	return true
}

// block is a port's share of the tables.
type block struct {
	id                      model.PortID
	of                      *groupRules
	pre, forward, input, sg []table.Rule // the same in both families
	v4, v6                  []table.Chain
	sets                    []setKey
	tap                     string // empty: nothing is filtered
	problem                 error
}

func (p *portRules) in() string  { return prefix + "i" + p.id.ChainSuffix() }
func (p *portRules) out() string { return prefix + "o" + p.id.ChainSuffix() }
func (p *portRules) src() string { return prefix + "s" + p.id.ChainSuffix() }

// render writes the port's share. Had is the share that it had with other rules of its groups, nil if it has changed itself:
// what is in both is taken from there.
func (p *portRules) render(had *block) *block {
	b := &block{id: p.id, of: p.groupRules, problem: p.problem, sets: p.sets}
	if had != nil {
		b.pre, b.forward, b.input, b.sg, b.tap = had.pre, had.forward, had.input, had.sg, had.tap
	} else {
		p.jumps(b)
	}
	if had == nil || had.of.stateless != p.stateless {
		b.pre = p.tracking()
	}
	if p.mode != open {
		b.v4, b.v6 = p.chains(table.IPv4, had), p.chains(table.IPv6, had)
	}
	return b
}

// jumps lead the port's packets to its chains.
func (p *portRules) jumps(b *block) {
	toPort, fromPort := "-m physdev --physdev-out "+p.tap+" --physdev-is-bridged ", "-m physdev --physdev-in "+p.tap+" --physdev-is-bridged "
	rule := func(parts ...string) table.Rule { return table.Rule(strings.Join(parts, "")) }
	if p.mode == open {
		b.forward = []table.Rule{rule(toPort, commentPortSecOff, "-j ACCEPT"), rule(fromPort, commentPortSecOff, "-j ACCEPT")}
		b.input = []table.Rule{rule(fromPort, commentPortSecOff, "-j ACCEPT")}
		return
	}
	b.tap = p.tap
	b.forward = []table.Rule{rule(toPort, commentToSG, "-j ", chainSG), rule(fromPort, commentToSG, "-j ", chainSG)}
	b.input = []table.Rule{rule(fromPort, commentInput, "-j ", p.out())}
	b.sg = []table.Rule{rule(toPort, commentToPort, "-j ", p.in()), rule(fromPort, commentToPort, "-j ", p.out())}
}

// chains are those that the block has of a family.
func (b *block) chains(f table.Family) []table.Chain {
	if f == table.IPv4 {
		return b.v4
	}
	return b.v6
}

// tracking sends the port's packets to its conntrack zone, or past connection
// tracking.
func (p *portRules) tracking() []table.Rule {
	comment, target := "Set zone for ", fmt.Sprintf("--zone %d", p.zone)
	switch {
	case p.stateless:
		comment, target = "Make stateless ", "--notrack"
	case p.mode == open || p.zone == 0:
		comment, target = "Do not track ", "--notrack"
	}
	tail := `-m comment --comment "` + comment + p.id.String() + `" -j CT ` + target
	return []table.Rule{
		table.Rule("-m physdev --physdev-in " + p.qvb + " " + tail),
		table.Rule("-i " + p.qvb + " " + tail),
		table.Rule("-m physdev --physdev-in " + p.tap + " " + tail),
	}
}

// chains writes the port's chains of a family; see render.
func (p *portRules) chains(f table.Family, had *block) []table.Chain {
	closed := []table.Rule{ruleUnmatched}
	if p.mode == shut {
		return []table.Chain{{Name: p.in(), Rules: closed}, {Name: p.out(), Rules: closed}}
	}
	var out []table.Chain
	if had != nil {
		out = slices.Clone(had.chains(f))
	} else {
		out = []table.Chain{
			{Name: p.in(), Fallback: closed},
			{Name: p.out(), Fallback: closed},
			{Name: p.src(), Rules: p.sources(f), Fallback: []table.Rule{ruleNoPair}},
		}
	}
	if had == nil || !had.of.sameChain(p.groupRules, f, model.Ingress) {
		out[0].Rules = p.ingress(f)
	}
	if had == nil || !had.of.sameChain(p.groupRules, f, model.Egress) {
		out[1].Rules = p.egress(f)
	}
	return out
}

// service is one that the host itself has for the port's guest, whatever the groups' rules say, as DHCP.
// What is sent to it never leaves the host: see table IntServices of package pipeline.
type service struct {
	addr     netip.Addr
	protocol string
	port     uint16
}

// servicesOf lists the metadata service and, where the DHCP port has addresses, names.
func servicesOf(in *PortInput) []service {
	out := []service{{standin.Metadata4, "tcp", standin.MetadataPort}, {standin.Metadata6, "tcp", standin.MetadataPort}}
	if in.Network == nil || in.Network.DHCPMAC.IsZero() {
		return out
	}
	for _, a := range in.Network.DHCPAddrs {
		if a.IsValid() && a.Zone() == "" && !a.Is4In6() {
			out = append(out, service{a, "udp", standin.DNSPort}, service{a, "tcp", standin.DNSPort})
		}
	}
	return out
}

// serviceRules are the rules that let packets to the services pass, or those from them.
func (p *portRules) serviceRules(f table.Family, from bool) (rules []table.Rule) {
	addr, port := "-d ", " --dport "
	if from {
		addr, port = "-s ", " --sport "
	}
	for _, s := range p.services {
		if familyOf(s.addr) == f {
			rules = append(rules, table.Rule(addr+netip.PrefixFrom(s.addr, s.addr.BitLen()).String()+" -p "+s.protocol+" -m "+s.protocol+
				port+strconv.Itoa(int(s.port))+" "+commentService+"-j RETURN"))
		}
	}
	return rules
}

// ingress is the chain of packets to the guest.
func (p *portRules) ingress(f table.Family) []table.Rule {
	rules := make([]table.Rule, 0, 8+len(p.texts[sideOf(f, model.Ingress)]))
	if f == table.IPv6 {
		rules = append(rules,
			"-p ipv6-icmp -m icmp6 --icmpv6-type 130 -j RETURN",
			"-p ipv6-icmp -m icmp6 --icmpv6-type 135 -j RETURN",
			"-p ipv6-icmp -m icmp6 --icmpv6-type 136 -j RETURN")
		for _, r := range p.routers {
			rules = append(rules, table.Rule("-s "+r.String()+"/128 -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j RETURN"))
		}
	}
	if !p.stateless {
		rules = append(rules, ruleSession)
	}
	for _, a := range p.dhcp {
		switch {
		case familyOf(a) != f:
		case f == table.IPv4:
			rules = append(rules, table.Rule("-s "+a.String()+"/32 -p udp -m udp --sport 67 --dport 68 -j RETURN"))
		default:
			rules = append(rules, table.Rule("-s "+a.String()+"/128 -p udp -m udp --sport 547 --dport 546 -j RETURN"))
		}
	}
	if p.stateless && !p.allowsAll(f, model.Ingress) { // else the answers are of a known session
		rules = append(rules, p.serviceRules(f, true)...)
	}
	return p.finish(rules, f, model.Ingress)
}

// egress is the chain of packets from the guest.
func (p *portRules) egress(f table.Family) []table.Rule {
	rules := make([]table.Rule, 0, 20+len(p.texts[sideOf(f, model.Egress)]))
	spoof := table.Rule("-j " + p.src())
	macs := macsOf(p.mac, p.pairs)
	if f == table.IPv4 {
		for _, m := range macs {
			rules = append(rules, table.Rule("-s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m mac --mac-source "+m.String()+
				" -m udp --sport 68 --dport 67 "+commentDHCPClient+"-j RETURN"))
		}
		rules = append(rules, spoof,
			"-p udp -m udp --sport 68 --dport 67 "+commentDHCPClient+"-j RETURN",
			"-p udp -m udp --sport 67 --dport 68 "+commentDHCPServer+"-j DROP")
	} else {
		for _, m := range macs {
			for _, typ := range []string{"131", "135", "143"} { // detection of duplicate addresses
				rules = append(rules, table.Rule("-s ::/128 -d ff02::/16 -p ipv6-icmp -m mac --mac-source "+m.String()+
					" -m icmp6 --icmpv6-type "+typ+" "+commentICMPv6+"-j RETURN"))
			}
		}
		rules = append(rules, spoof,
			"-p ipv6-icmp -m icmp6 --icmpv6-type 134 "+commentRA+"-j DROP",
			"-p ipv6-icmp -m icmp6 --icmpv6-type 137 "+commentRedirect+"-j DROP")
		for _, typ := range []string{"131", "132", "133", "135", "136", "143"} {
			rules = append(rules, table.Rule("-p ipv6-icmp -m icmp6 --icmpv6-type "+typ+" "+commentICMPv6+"-j RETURN"))
		}
		rules = append(rules,
			"-p udp -m udp --sport 546 --dport 547 "+commentDHCPClient+"-j RETURN",
			"-p udp -m udp --sport 547 --dport 546 "+commentDHCPServer+"-j DROP")
	}
	if !p.allowsAll(f, model.Egress) {
		rules = append(rules, p.serviceRules(f, false)...)
	}
	if !p.stateless {
		rules = append(rules, ruleSession)
	}
	return p.finish(rules, f, model.Egress)
}

// finish appends the groups' rules and the end of a port's chain.
func (p *portRules) finish(rules []table.Rule, f table.Family, d model.Direction) []table.Rule {
	rules = append(rules, p.texts[sideOf(f, d)]...)
	if !p.stateless {
		rules = append(rules, ruleInvalid)
	}
	return append(rules, ruleUnmatched)
}

// sources is the anti-spoofing chain.
func (p *portRules) sources(f table.Family) []table.Rule {
	rules := make([]table.Rule, 0, len(p.pairs)+1)
	for _, q := range p.pairs {
		if familyOf(q.prefix.Addr()) != f {
			continue
		}
		from := ""
		if q.prefix.Bits() > 0 {
			from = "-s " + q.prefix.String() + " "
		}
		rules = append(rules, table.Rule(from+"-m mac --mac-source "+q.mac.String()+" "+commentPair+"-j RETURN"))
	}
	return append(rules, ruleNoPair)
}
