package iptables

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"weft/internal/host/iptables/table"
)

// fewMembers is up to how many members are sent one by one over netlink; more
// go through one run of ipset(8), which costs as much as some forty messages.
const fewMembers = 32

// prepareSets makes, grows and fills sets. A set that cannot be is reported
// and left; rules that refer to it will be refused.
func (m *Manager) prepareSets(ctx context.Context, c *setChange, res *Result) error {
	var text []string
	for _, s := range c.make {
		text = append(text, table.SetsText([]table.Set{s}))
	}
	for _, s := range c.resize {
		text = append(text, resizeText(s))
	}
	few := 0
	for _, add := range c.add {
		few += len(add.members)
	}
	if few > fewMembers {
		for _, add := range c.add {
			text = append(text, memberText("add", add))
		}
	}
	if err := m.restoreSets(ctx, text, c, res); err != nil {
		return err
	}
	if few > fewMembers {
		return nil
	}
	for _, add := range c.add {
		for _, p := range add.members {
			if err := m.member(add.set, p, m.nl.IpsetAdd); err != nil {
				res.BadSets[add.set] = err
			}
		}
	}
	return nil
}

// restoreSets runs ipset once for all sets, and once for each set when that fails.
func (m *Manager) restoreSets(ctx context.Context, text []string, c *setChange, res *Result) error {
	if len(text) == 0 {
		return nil
	}
	if m.ipset(ctx, strings.Join(text, "")) == nil {
		return nil
	}
	names := make([]string, 0, len(text))
	for _, s := range c.make {
		names = append(names, s.Name)
	}
	for _, s := range c.resize {
		names = append(names, s.Name)
	}
	for _, add := range c.add {
		names = append(names, add.set)
	}
	for i, t := range text {
		if err := m.ipset(ctx, t); err != nil {
			if ctx.Err() != nil {
				return err
			}
			res.BadSets[names[i]] = err
			m.log.Error("set refused", "set", names[i], "error", err)
		}
	}
	return nil
}

func (m *Manager) ipset(ctx context.Context, text string) error {
	m.stats.writes.Add(1)
	m.stats.members.Add(uint64(strings.Count(text, "\n")))
	_, err := m.ns.run(ctx, text, "ipset", "restore", "-exist")
	return err
}

// resizeText makes the set anew under another name and lets both change
// places, so that rules that refer to it never see it empty.
func resizeText(s table.Set) string {
	fresh := s
	fresh.Name += swapSuffix
	return table.SetsText([]table.Set{fresh}) + "swap " + fresh.Name + " " + s.Name + "\ndestroy " + fresh.Name + "\n"
}

func memberText(verb string, c memberChange) string {
	var b strings.Builder
	for _, p := range c.members {
		b.WriteString(verb + " " + c.set + " " + table.MemberText(p) + "\n")
	}
	return b.String()
}

func (m *Manager) member(set string, p netip.Prefix, change func(string, *netlink.IPSetEntry) error) error {
	m.stats.writes.Add(1)
	m.stats.members.Add(1)
	// Replace: an addition of what is there and a removal of what is not are no errors.
	if err := change(set, &netlink.IPSetEntry{IP: p.Addr().AsSlice(), CIDR: uint8(p.Bits()), Replace: true}); err != nil {
		return fmt.Errorf("changing member %s of set %s: %w", p, set, err)
	}
	return nil
}

// finishSets takes members and sets away that no rule needs any more.
func (m *Manager) finishSets(ctx context.Context, c *setChange, res *Result) error {
	few := 0
	for _, r := range c.remove {
		few += len(r.members)
	}
	if few > fewMembers {
		var b strings.Builder
		for _, r := range c.remove {
			b.WriteString(memberText("del", r))
		}
		if err := m.ipset(ctx, b.String()); err != nil {
			return err
		}
	} else {
		for _, r := range c.remove {
			for _, p := range r.members {
				if err := m.member(r.set, p, m.nl.IpsetDel); err != nil {
					res.BadSets[r.set] = err
				}
			}
		}
	}
	for _, name := range c.drop {
		if err := m.destroy(ctx, name); err != nil {
			res.BadSets[name] = err
		}
	}
	return nil
}

// destroy removes a set. nf_tables lets go of a removed rule's set a moment
// after the rule is gone, so a busy set is tried again for up to 255 ms; it
// filters nothing meanwhile.
func (m *Manager) destroy(ctx context.Context, name string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		m.stats.writes.Add(1)
		err := m.nl.IpsetDestroy(name)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		busy := errors.Is(err, unix.EBUSY) || errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY))
		if !busy || wait > 128*time.Millisecond {
			return fmt.Errorf("removing set %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
