// Package table holds iptables and ipset content as values: rules, chains,
// tables and sets, their text form, and the normal form in which two rules are
// compared.
//
// It executes nothing and knows neither ports nor security groups. Package
// firewall makes these values; package iptables compares them with the
// kernel's and applies the difference.
package table

import (
	"net/netip"
	"slices"
)

// Family is the address family that a ruleset or a set is about.
type Family uint8

// The families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns the family in ipset's words: "inet" or "inet6".
func (f Family) String() string {
	if f == IPv6 {
		return "inet6"
	}
	return "inet"
}

// Bits is the length of an address of the family, in bits.
func (f Family) Bits() int {
	if f == IPv6 {
		return 128
	}
	return 32
}

// Rule is one rule, without "-A" and its chain and without counters, in the
// normal form of Normalize: two rules are the same rule when their texts are.
type Rule string

// Chain is a list of rules under a name.
type Chain struct {
	Name string
	// Policy is what a built-in chain does at its end ("ACCEPT", "DROP"), "-"
	// for a chain that a user made. It is read, never written.
	Policy string
	Rules  []Rule
	// Shared marks a chain that others write to as well. Wanted, its rules stand
	// at the head of the chain in this order; what others have put there
	// follows, untouched.
	Shared bool
	// Fallback replaces Rules when the kernel refuses one of them, so that a bad
	// rule shuts one port instead of stopping the update of all. Empty: none.
	Fallback []Rule
}

// Table is a named table of one family: "raw", "filter".
type Table struct {
	Name   string
	Chains []Chain
}

// Chain returns the chain of a name, nil when the table has none.
func (t *Table) Chain(name string) *Chain {
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}

// Ruleset is the tables of one family.
type Ruleset []Table

// Table returns the table of a name, nil when there is none.
func (r Ruleset) Table(name string) *Table {
	for i := range r {
		if r[i].Name == name {
			return &r[i]
		}
	}
	return nil
}

// Set is an ipset of type hash:net.
type Set struct {
	Name   string
	Family Family
	// Members are masked, sorted by Compare and unique, and none of them is /0,
	// which hash:net cannot hold: see AppendMember.
	Members []netip.Prefix
	// MaxElem is the most members that the kernel will take (ipset(8) "maxelem").
	MaxElem int
}

// DefaultMaxElem is ipset's own limit of members of a set.
const DefaultMaxElem = 65536

// AppendMember appends a prefix to a set's members: masked, and a /0 as its two
// halves, since hash:net has no prefix length 0.
func AppendMember(members []netip.Prefix, p netip.Prefix) []netip.Prefix {
	p = p.Masked()
	if p.Bits() > 0 {
		return append(members, p)
	}
	half := p.Addr().AsSlice()
	half[0] = 0x80
	upper, _ := netip.AddrFromSlice(half)
	return append(members, netip.PrefixFrom(p.Addr(), 1), netip.PrefixFrom(upper, 1))
}

// SortMembers sorts members and removes duplicates, in place.
func SortMembers(members []netip.Prefix) []netip.Prefix {
	slices.SortFunc(members, ComparePrefix)
	return slices.Compact(members)
}

// ComparePrefix orders prefixes by address, then by length.
func ComparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
