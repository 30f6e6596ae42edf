package iptables

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A frame with a length in place of a type (IEEE 802.3) says behind an LLC/SNAP header what it holds. If it is IP, Open
// vSwitch and some guests take it as such, but iptables does not see it on a bridge (CVE-2021-27853). So nothing of the kind crosses
// a bridge from or to the TAP of a port that is filtered: nobody speaks IP like that on Ethernet.
//
// The rules are nftables', whatever the backend of iptables: a table of our own in the bridge family, with a set of devices.
// An ebtables chain would be shared with libvirt, and matches single devices only.

// frameTable is the name of that table.
const frameTable = "weft-llc"

// frameRules are its rules, by their comments, by which they are known when they are read.
var frameRules = [...]struct{ comment, match string }{{"from a filtered port", "iifname"}, {"to a filtered port", "oifname"}}

// frames is what the kernel has of it.
type frames struct {
	taps   []string // sorted
	whole  bool     // the rules are as we make them
	absent bool     // there is no such table
}

// frameText makes the table anew, in one transaction.
func frameText(taps []string) string {
	var b strings.Builder
	b.WriteString(dropFrames + "table bridge " + frameTable + " {\n\tset ports {\n\t\ttype ifname\n")
	if len(taps) > 0 {
		b.WriteString("\t\telements = { " + quoted(taps) + " }\n")
	}
	b.WriteString("\t}\n\tchain forward {\n\t\ttype filter hook forward priority -300; policy accept;\n")
	for _, r := range frameRules {
		fmt.Fprintf(&b, "\t\t%s @ports ether type < 0x0600 drop comment %q\n", r.match, r.comment)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// dropFrames deletes the table, which need not be there.
const dropFrames = "add table bridge " + frameTable + "\ndelete table bridge " + frameTable + "\n"

func quoted(names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, fmt.Sprintf("%q", n))
	}
	return strings.Join(out, ", ")
}

// canFilterFrames tries whether the kernel takes such a table, unless it has it already. Nothing of the trial is left.
func (m *Manager) canFilterFrames(ctx context.Context) error {
	var there strings.Builder
	if err := m.readFrames(ctx, &there); err != nil || there.Len() > 0 {
		return err
	}
	probe := strings.ReplaceAll(frameText([]string{"lo"})+dropFrames, frameTable, frameTable+"-probe")
	_, err := m.ns.run(ctx, probe, "nft", "-f", "-")
	return err
}

// readFrames has nft print the table, nothing if there is none. To list all tables of the family, and to find ours among
// them, would cost a host with many ports forty times as much: nft then reads the rules of iptables, too.
func (m *Manager) readFrames(ctx context.Context, into io.Writer) error {
	err := m.ns.runTo(ctx, into, "", "nft", "-j", "list", "table", "bridge", frameTable)
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return nil
	}
	return err
}

// parseFrames reads what nft prints of the table (libnftables-json(5)).
func parseFrames(text string) (frames, error) {
	f := frames{absent: true}
	if text == "" {
		return f, nil
	}
	var all struct {
		Nftables []struct {
			Table *struct{ Name string }
			Set   *struct {
				Name, Table string
				Elem        []any
			}
			Chain *struct{ Name, Table, Hook, Policy string }
			Rule  *struct{ Table, Chain, Comment string }
		}
	}
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return f, fmt.Errorf("reading the output of nft: %w", err)
	}
	hooked := false
	var rules []string
	for _, o := range all.Nftables {
		switch {
		case o.Table != nil && o.Table.Name == frameTable:
			f.absent = false
		case o.Chain != nil && o.Chain.Table == frameTable:
			hooked = o.Chain.Name == "forward" && o.Chain.Hook == "forward" && o.Chain.Policy == "accept"
		case o.Rule != nil && o.Rule.Table == frameTable:
			rules = append(rules, o.Rule.Comment)
		case o.Set != nil && o.Set.Table == frameTable:
			for _, e := range o.Set.Elem {
				f.taps = append(f.taps, fmt.Sprint(e))
			}
		}
	}
	slices.Sort(f.taps)
	f.whole = hooked && len(rules) == len(frameRules)
	for i := range frameRules {
		f.whole = f.whole && rules[i] == frameRules[i].comment
	}
	return f, nil
}

// planFrames returns what nft is to be told so that have becomes what is wanted, empty when it is so.
func planFrames(have frames, taps []string) string {
	switch {
	case len(taps) == 0 && have.absent:
		return ""
	case len(taps) == 0:
		return dropFrames
	case !have.whole:
		return frameText(taps)
	}
	var text string
	for _, c := range []struct {
		verb    string
		of, not []string
	}{{"add", taps, have.taps}, {"delete", have.taps, taps}} {
		change := slices.DeleteFunc(slices.Clone(c.of), func(n string) bool { _, there := slices.BinarySearch(c.not, n); return there })
		if len(change) > 0 {
			text += c.verb + " element bridge " + frameTable + " ports { " + quoted(change) + " }\n"
		}
	}
	return text
}

// writeFrames tells nft.
func (m *Manager) writeFrames(ctx context.Context, text string) error {
	if text == "" {
		return nil
	}
	m.stats.writes.Add(1)
	_, err := m.ns.run(ctx, text, "nft", "-f", "-")
	return err
}
