package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"weft/internal/host/iptables/table"
)

// Names of Neutron's chains (see package firewall).
const (
	chainPrefix   = "neutron-openvswi-"
	fallbackChain = chainPrefix + "sg-fallback"
	groupsChain   = chainPrefix + "sg-chain"
)

// filter is the host's iptables rules that are Neutron's, of both families.
type filter struct {
	chains  map[string][]Rule
	entered map[string]Count // by the chain that a rule jumps to
}

// readFilter reads rules and sets. It runs the tools' reading halves alone.
func (f *facts) readFilter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	fl := &filter{chains: map[string][]Rule{}, entered: map[string]Count{}}
	for _, fam := range []struct{ name, command, tables string }{{"IPv4", "iptables", "ip"}, {"IPv6", "ip6tables", "ip6"}} {
		text, err := saved(ctx, fam.command, fam.tables, "filter", chainPrefix)
		if err != nil {
			return err
		}
		if err := fl.add(fam.name, text); err != nil {
			return err
		}
	}
	f.filter = fl
	text, err := output(ctx, "ipset", "save")
	if err != nil {
		return err
	}
	sets, err := table.ParseSets(text)
	if err != nil {
		return fmt.Errorf("reading ipsets: %w", err)
	}
	for _, s := range sets {
		fam := "IPv4"
		if s.Family == table.IPv6 {
			fam = "IPv6"
		}
		f.sets = append(f.sets, Set{Name: s.Name, Family: fam, Members: len(s.Members)})
	}
	slices.SortFunc(f.sets, func(a, b Set) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// saved returns a table of one family from whichever backend has Neutron's chains there, whose names begin with prefix;
// "" if none has.
func saved(ctx context.Context, command, tables, name, prefix string) (string, error) {
	missing := 0
	for _, backend := range []string{"nft", "legacy"} {
		// iptables-legacy-save would make the tables that it looks for.
		if names, err := os.ReadFile("/proc/thread-self/net/" + tables + "_tables_names"); backend == "legacy" && (err != nil || len(names) == 0) {
			continue
		}
		text, err := output(ctx, command+"-"+backend+"-save", "-c", "-t", name)
		if errors.Is(err, exec.ErrNotFound) {
			missing++
			continue
		}
		if err != nil {
			return "", err
		}
		if strings.Contains(text, "\n:"+prefix) {
			return text, nil
		}
	}
	if missing > 0 {
		return "", fmt.Errorf("%s-nft-save is not on this host", command)
	}
	return "", nil
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w %s", name, err, strings.TrimSpace(errs.String()))
	}
	return string(out), nil
}

// add reads the rules of Neutron's chains from what "iptables-save -c" prints.
func (fl *filter) add(family, text string) error {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "[") {
			continue // comments, tables, policies
		}
		count, rest, err := cutCount(line)
		if err != nil {
			return err
		}
		rest, ok := strings.CutPrefix(rest, "-A ")
		chain, rule, _ := strings.Cut(rest, " ")
		if !ok {
			return fmt.Errorf("rule %q: want -A CHAIN", line)
		}
		if target := jump(rule); strings.HasPrefix(target, chainPrefix) {
			fl.entered[target] = fl.entered[target].plus(count)
		}
		if strings.HasPrefix(chain, chainPrefix) {
			fl.chains[chain] = append(fl.chains[chain], Rule{Family: family, Text: rule, Count: count})
		}
	}
	return nil
}

// cutCount reads the counters in front of a rule: [packets:bytes].
func cutCount(line string) (c Count, rest string, err error) {
	inside, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
	packets, octets, both := strings.Cut(inside, ":")
	if !ok || !both {
		return c, "", fmt.Errorf("rule %q: want [packets:bytes]", line)
	}
	if c.Packets, err = strconv.ParseUint(packets, 10, 64); err != nil {
		return c, "", fmt.Errorf("rule %q: packets: %w", line, err)
	}
	if c.Bytes, err = strconv.ParseUint(octets, 10, 64); err != nil {
		return c, "", fmt.Errorf("rule %q: bytes: %w", line, err)
	}
	return c, rest, nil
}

// jump returns what a rule does: a chain's name, DROP, RETURN …
func jump(rule string) string {
	// A comment may hold anything, but -j comes after all matches.
	i := strings.LastIndex(rule, "-j ")
	if i < 0 || i > 0 && rule[i-1] != ' ' {
		return ""
	}
	target, _, _ := strings.Cut(rule[i+3:], " ")
	return target
}

// lookedInto returns the ipset that a rule matches, or "".
func lookedInto(rule string) string {
	_, rest, ok := strings.Cut(rule, "--match-set ")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, " ")
	return name
}

// chain returns a chain with its drops by reason, nil if there is none.
func (fl *filter) chain(name, kind string) *Chain {
	rules := fl.chains[name]
	if rules == nil {
		return nil
	}
	c := &Chain{Name: name, Kind: kind, Rules: rules, Entered: fl.entered[name]}
	for _, r := range rules {
		why := dropReason(kind, r.Text)
		if why == "" || r.Packets == 0 {
			continue
		}
		i := slices.IndexFunc(c.Drops, func(d Drop) bool { return d.Reason == why })
		if i < 0 {
			c.Drops = append(c.Drops, Drop{Reason: why})
			i = len(c.Drops) - 1
		}
		c.Drops[i].Count = c.Drops[i].plus(r.Count)
	}
	return c
}

// dropReason says in words why a rule drops, "" if it does not.
func dropReason(kind, rule string) string {
	switch target := jump(rule); {
	case target == fallbackChain:
		return "no security group rule allows it"
	case target != "DROP":
		return ""
	case kind == Spoofing:
		return "source is not an address of the port"
	case strings.Contains(rule, "INVALID"):
		return "belongs to no known connection"
	case strings.Contains(rule, "--sport 67 --dport 68"), strings.Contains(rule, "--sport 547 --dport 546"):
		return "a VM may not be a DHCP server"
	case strings.Contains(rule, "--icmpv6-type 134"):
		return "a VM may not be a router"
	case strings.Contains(rule, "--icmpv6-type 137"):
		return "a VM may not redirect others"
	}
	return "the port is shut"
}

// cut is what was dropped of connections that are no longer allowed.
func (fl *filter) cut() Count {
	var n Count
	for _, r := range fl.chains[groupsChain] {
		if jump(r.Text) == "DROP" {
			n = n.plus(r.Count)
		}
	}
	return n
}
