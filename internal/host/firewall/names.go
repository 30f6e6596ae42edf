package firewall

import "weft/internal/host/iptables/table"

// Names of chains. Neutron cuts the name of its agent's program to 16
// characters and puts it before every chain.
const (
	prefix        = "neutron-openvswi-"
	chainTop      = "neutron-filter-top"
	chainForward  = prefix + "FORWARD"
	chainInput    = prefix + "INPUT"
	chainOutput   = prefix + "OUTPUT"
	chainPre      = prefix + "PREROUTING"
	chainLocal    = prefix + "local"
	chainSG       = prefix + "sg-chain"
	chainFallback = prefix + "sg-fallback"
)

// Comments of rules: Neutron's, since operators and their scripts look for them.
const (
	commentToSG       = `-m comment --comment "Direct traffic from the VM interface to the security group chain." `
	commentInput      = `-m comment --comment "Direct incoming traffic from VM to the security group chain." `
	commentToPort     = `-m comment --comment "Jump to the VM specific chain." `
	commentSession    = `-m comment --comment "Direct packets associated with a known session to the RETURN chain." `
	commentInvalid    = `-m comment --comment "Drop packets that appear related to an existing connection (e.g. TCP ACK/FIN) but do not have an entry in conntrack." `
	commentUnmatched  = `-m comment --comment "Send unmatched traffic to the fallback chain." `
	commentFallback   = `-m comment --comment "Default drop rule for unmatched traffic." `
	commentDHCPClient = `-m comment --comment "Allow DHCP client traffic." `
	commentDHCPServer = `-m comment --comment "Prevent DHCP Spoofing by VM." `
	commentICMPv6     = `-m comment --comment "Allow IPv6 ICMP traffic." `
	commentRA         = `-m comment --comment "Drop IPv6 Router Advts from VM Instance." `
	commentPair       = `-m comment --comment "Allow traffic from defined IP/MAC pairs." `
	commentNoPair     = `-m comment --comment "Drop traffic without an IP/MAC allow rule." `
	commentPortSecOff = `-m comment --comment "Accept all packets when port security is disabled." `

	// Ours.
	commentService  = `-m comment --comment "Allow services of the host." `
	commentRedirect = `-m comment --comment "Drop IPv6 Redirects from VM Instance." `
	commentKilled   = `-m comment --comment "Drop connections that a removed rule had allowed." `
)

// Rules that every port's chains have.
const (
	ruleSession   table.Rule = "-m state --state RELATED,ESTABLISHED " + commentSession + "-j RETURN"
	ruleInvalid   table.Rule = "-m state --state INVALID " + commentInvalid + "-j DROP"
	ruleUnmatched table.Rule = commentUnmatched + "-j " + chainFallback
	ruleNoPair    table.Rule = commentNoPair + "-j DROP"
)

// fixedTables is what a host has without ports; ports' chains are added to the
// end of the filter table, their jumps to FORWARD, INPUT, PREROUTING and the
// sg-chain.
func fixedTables(pre, forward, input, sg []table.Rule) table.Ruleset {
	jump := func(chain string) table.Rule { return table.Rule("-j " + chain) }
	sg = append(append([]table.Rule{"-m connmark --mark 0x1 " + commentKilled + "-j DROP"}, sg...), "-j ACCEPT")
	return table.Ruleset{
		{Name: "raw", Chains: []table.Chain{
			{Name: "PREROUTING", Shared: true, Rules: []table.Rule{jump(chainPre)}},
			{Name: "OUTPUT", Shared: true, Rules: []table.Rule{jump(chainOutput)}},
			{Name: chainOutput},
			{Name: chainPre, Rules: pre},
		}},
		{Name: "filter", Chains: []table.Chain{
			{Name: "INPUT", Shared: true, Rules: []table.Rule{jump(chainInput)}},
			{Name: "FORWARD", Shared: true, Rules: []table.Rule{jump(chainTop), jump(chainForward)}},
			{Name: "OUTPUT", Shared: true, Rules: []table.Rule{jump(chainTop), jump(chainOutput)}},
			{Name: chainTop, Shared: true, Rules: []table.Rule{jump(chainLocal)}},
			{Name: chainForward, Rules: forward},
			{Name: chainInput, Rules: input},
			{Name: chainOutput},
			{Name: chainLocal},
			{Name: chainSG, Rules: sg},
			{Name: chainFallback, Rules: []table.Rule{commentFallback + "-j DROP"}},
		}},
	}
}
