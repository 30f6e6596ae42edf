package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/firewall"
	"weft/internal/host/iptables/table"
	"weft/internal/model"
	"weft/internal/testkit/filtertest"
)

// TestWhatIsAppliedReadsBackAsWanted is render against the real iptables-save,
// for every kind of rule and port, in both families and both backends.
func TestWhatIsAppliedReadsBackAsWanted(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ns := filtertest.NewNamespace(t)
		m := openManager(t, ns, b)
		in := everyPort()
		apply(t, m, in)
		want := state(firewall.Hybrid(in))
		wantConverged(t, m, want)
		have, err := m.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(have.V4.Text()+have.V6.Text(), "\n"); n < 5000 {
			t.Errorf("only %d lines were read back", n)
		}
		if c := HostLayout().Plan(have, State{}); c.Empty() {
			t.Error("everything is to be removed, and the plan is empty")
		}
	})
}

// TestAConvergedHostIsNotWrittenTo, neither by the same manager nor by one
// that starts anew (V12).
func TestAConvergedHostIsNotWrittenTo(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ns := filtertest.NewNamespace(t)
		first := openManager(t, ns, b)
		apply(t, first, everyPort())
		second := openManager(t, ns, Auto)
		if second.Backend() != b {
			t.Errorf("the backend is %s, found %s", b, second.Backend())
		}
		for _, m := range []*Manager{first, second} {
			before := m.Stats().Writes
			if res := apply(t, m, everyPort()); res.Changed {
				t.Error("changed")
			}
			if res, err := m.Verify(context.Background()); err != nil || res.Changed {
				t.Error("repaired", err)
			}
			if n := m.Stats().Writes - before; n != 0 {
				t.Errorf("%d writes", n)
			}
		}
	})
}

// TestOnlyOursIsTouched: foreign rules, chains, tables and sets keep their
// place through apply, change and removal.
func TestOnlyOursIsTouched(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ns := filtertest.NewNamespace(t)
		tool := "iptables-" + string(b)
		filtertest.Sh(t, filtertest.In(ns, tool+"-restore")+` <<'E'
*nat
:neutron-openvswi-foreign - [0:0]
-A POSTROUTING -s 10.1.0.0/16 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:theirs - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j theirs
-A FORWARD -i docker0 -j theirs
-A theirs -m comment --comment "a \"b\" c" -j ACCEPT
COMMIT
E`)
		filtertest.Sh(t, filtertest.In(ns, "ipset create theirs hash:net"))
		filtertest.Sh(t, filtertest.In(ns, "ipset create NIPv4x hash:ip"))
		filtertest.Sh(t, filtertest.In(ns, "nft add table bridge theirs"))
		// The raw table comes and goes with ours, so its frame is left out.
		ours := regexp.MustCompile(`^(#|\*raw|:PREROUTING|:OUTPUT|COMMIT|.*neutron-(filter-top|openvswi-)|NIPv[46].*-)`)
		foreign := func() string {
			var keep []string
			for line := range strings.Lines(filtertest.Sh(t, filtertest.In(ns, tool+"-save")) + filtertest.Sh(t, filtertest.In(ns, "ipset list -n | sort"))) {
				if !ours.MatchString(line) || strings.Contains(line, "foreign") {
					keep = append(keep, line)
				}
			}
			return strings.Join(keep, "")
		}
		before := foreign()
		m := openManager(t, ns, b)
		apply(t, m, everyPort())
		if got := foreign(); got != before {
			t.Errorf("after apply:\n%s\nbefore:\n%s", got, before)
		}
		// A foreign rule put before ours must not let past: ours go to the head again.
		filtertest.Sh(t, filtertest.In(ns, tool+" -I FORWARD -j ACCEPT"))
		filtertest.Sh(t, filtertest.In(ns, tool+" -D FORWARD -j neutron-openvswi-FORWARD"))
		if res, err := m.Verify(context.Background()); err != nil || !res.Changed || m.Stats().Repairs != 1 {
			t.Errorf("not repaired: %+v, %v", m.Stats(), err)
		}
		if got := strings.Fields(filtertest.Sh(t, filtertest.In(ns, tool+" -S FORWARD | awk '/^-A/{print $NF}'"))); !slices.Equal(got, []string{"neutron-filter-top", "neutron-openvswi-FORWARD", "ACCEPT", "theirs"}) {
			t.Errorf("FORWARD leads to %v", got)
		}
		filtertest.Sh(t, filtertest.In(ns, tool+" -D FORWARD -j ACCEPT"))
		if err := m.Remove(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := foreign(); got != before {
			t.Errorf("after removal:\n%s\nbefore:\n%s", got, before)
		}
		if got := filtertest.Sh(t, filtertest.In(ns, "nft list tables bridge")); got != "table bridge theirs\n" {
			t.Errorf("tables of bridges after removal: %s", got)
		}
		left := filtertest.Sh(t, filtertest.In(ns, tool+"-save")+"; "+filtertest.In(ns, "ipset list -n"))
		if n := strings.Count(left, "neutron-") + strings.Count(left, filtertest.ID(700).String()[:8]); n != 1 { // the one in nat
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// TestALookWritesNothing and is possible while rules change: what it says then is not relied upon.
func TestALookWritesNothing(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ns := filtertest.NewNamespace(t)
		m := openManager(t, ns, b)
		if res, err := m.Verify(context.Background()); err != nil || res.Changed {
			t.Error("verified before anything is wanted:", err)
		}
		in := everyPort()
		apply(t, m, in)
		looked := make(chan error, 1)
		look := m.Look()
		go func() {
			_, err := look(context.Background())
			looked <- err
		}()
		half := in
		half.Ports = in.Ports[:len(in.Ports)/2]
		apply(t, m, half)
		if err := <-looked; err != nil {
			t.Error(err)
		}
		before := m.Stats().Writes
		for range 2 {
			if asLeft, err := m.Look()(context.Background()); err != nil || !asLeft {
				t.Error("not as left:", err)
			}
		}
		if m.seen.Load() == nil {
			t.Error("what was seen is not remembered")
		}
		if n := m.Stats().Writes - before; n != 0 {
			t.Errorf("%d writes", n)
		}
		wantConverged(t, m, state(firewall.Hybrid(half)))
	})
}

// TestHandMadeChangesAreUndone.
func TestHandMadeChangesAreUndone(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ns := filtertest.NewNamespace(t)
		tool := "iptables-" + string(b)
		m := openManager(t, ns, b)
		in1 := everyPort()
		apply(t, m, in1)
		chain := "neutron-openvswi-i" + in1.Ports[0].View.ID.ChainSuffix()
		for _, damage := range []string{
			tool + " -F " + chain, tool + " -I " + chain + " -j RETURN", tool + " -F", tool + " -t raw -F",
			"ip6" + strings.TrimPrefix(tool, "ip") + " -D neutron-openvswi-sg-chain 1",
			"ipset flush " + firewall.SetName(filtertest.ID(700), table.IPv4), "ipset add " + firewall.SetName(filtertest.ID(700), table.IPv4) + " 1.2.3.4",
			"nft delete table bridge weft-llc", "nft flush chain bridge weft-llc forward", "nft delete chain bridge weft-llc forward",
			"nft delete element bridge weft-llc ports '{ tap" + in1.Ports[0].View.ID.DeviceSuffix() + " }'", "nft add element bridge weft-llc ports '{ lo }'",
			tool + " -A neutron-openvswi-sg-fallback -j ACCEPT", tool + " -N neutron-openvswi-ideadbeef-0",
		} {
			if m.Look()(context.Background()); m.seen.Load() == nil {
				t.Errorf("before %s: not as left", damage)
			}
			filtertest.Sh(t, filtertest.In(ns, damage))
			if asLeft, err := m.Look()(context.Background()); err != nil || asLeft {
				t.Errorf("%s: not seen (%v)", damage, err)
			}
			if res, err := m.Verify(context.Background()); err != nil || !res.Changed {
				t.Errorf("%s: not repaired (%v)", damage, err)
			}
			wantConverged(t, m, state(firewall.Hybrid(in1)))
		}
		// Damage that nobody has seen yet does not lead to wrong edits of the next change.
		filtertest.Sh(t, filtertest.In(ns, tool+" -D "+chain+" 12"))
		filtertest.Sh(t, filtertest.In(ns, tool+" -F neutron-openvswi-sg-chain"))
		in1.Ports = in1.Ports[1:]
		apply(t, m, in1)
		if _, err := m.Verify(context.Background()); err != nil {
			t.Error(err)
		}
		wantConverged(t, m, state(firewall.Hybrid(in1)))
	})
}

// TestARefusedChainShutsItsPortOnly: a rule that the kernel does not take puts
// that chain's fallback in force, everything else is applied (V13).
func TestARefusedChainShutsItsPortOnly(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		m := openManager(t, filtertest.NewNamespace(t), b)
		in := everyPort()
		in.Ports = in.Ports[:3]
		want := state(firewall.Hybrid(in))
		filter := want.V4.Table("filter")
		var bad, good string
		for i := range filter.Chains {
			c := &filter.Chains[i]
			if c.Name == "neutron-openvswi-i"+in.Ports[1].View.ID.ChainSuffix() {
				bad = c.Name
				c.Rules = append([]table.Rule{"-m set --match-set no-such-set src -j RETURN"}, c.Rules...)
			}
		}
		good = "neutron-openvswi-i" + in.Ports[0].View.ID.ChainSuffix()
		for range 2 { // the second time, what is known to be refused is not tried
			res, err := m.Apply(context.Background(), want)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Refused) != 1 || res.Refused[bad] == nil || len(res.BadSets) > 0 {
				t.Fatalf("refused %v, bad sets %v", res.Refused, res.BadSets)
			}
		}
		have, err := m.Read(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if got := have.V4.Table("filter").Chain(bad).Rules; !slices.Equal(got, filter.Chain(bad).Fallback) {
			t.Errorf("the refused chain holds %v", got)
		}
		if got := have.V4.Table("filter").Chain(good).Rules; !slices.Equal(got, filter.Chain(good).Rules) {
			t.Errorf("another chain holds %v", got)
		}
		before := m.Stats().Writes
		if _, err := m.Apply(context.Background(), want); err != nil || m.Stats().Writes != before {
			t.Errorf("%d writes, %v", m.Stats().Writes-before, err)
		}
		apply(t, m, in)
		wantConverged(t, m, state(firewall.Hybrid(in)))
	})
}

// TestASetThatCannotBeShutsTheRulesThatNeedIt.
func TestASetThatCannotBeShutsTheRulesThatNeedIt(t *testing.T) {
	ns := filtertest.NewNamespace(t)
	filtertest.Sh(t, filtertest.In(ns, "ipset create "+firewall.SetName(filtertest.ID(700), table.IPv4)+" hash:ip,port"))
	m := openManager(t, ns, NFT)
	g := filtertest.Group(1, true, filtertest.Rule(1, model.Ingress, model.IPv4, filtertest.FromGroup(filtertest.ID(700))), filtertest.Rule(2, model.Ingress, model.IPv6, filtertest.FromGroup(filtertest.ID(700))))
	h := filtertest.Group(2, true, filtertest.Rule(3, model.Ingress, model.IPv4))
	input := firewall.Input{Groups: filtertest.Groups(g, h), Members: filtertest.Members(filtertest.ID(700), "10.0.0.1/32", "2001:db8::1/128"), Ports: []firewall.PortInput{
		{View: filtertest.Port(1, []*model.GroupView{g}, "10.0.0.11"), Zone: 4097}, {View: filtertest.Port(2, []*model.GroupView{h}, "10.0.0.54"), Zone: 4097}}}
	res, err := m.Apply(context.Background(), state(firewall.Hybrid(input)))
	if err != nil || res.BadSets[firewall.SetName(filtertest.ID(700), table.IPv4)] == nil || len(res.BadSets) != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	have, err := m.Read(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(have.V4.Text(), "neutron-openvswi-i"+input.Ports[1].View.ID.ChainSuffix()+" -j RETURN") {
		t.Error("the other port is not as wanted")
	}
	if len(have.Sets) != 1 || len(have.Sets[0].Members) != 1 {
		t.Errorf("sets %v", have.Sets)
	}
}

// TestASetGrowsBeyondItsLimitInPlace: rules go on referring to it.
func TestASetGrowsBeyondItsLimitInPlace(t *testing.T) {
	m := openManager(t, filtertest.NewNamespace(t), NFT)
	v := filtertest.Port(1, nil, "10.0.0.11")
	g := filtertest.Group(1, true, filtertest.Rule(1, model.Ingress, model.IPv4, filtertest.FromGroup(filtertest.ID(700))))
	v.SecurityGroups = []model.SecurityGroupID{g.ID}
	in := firewall.Input{Groups: filtertest.Groups(g), Ports: []firewall.PortInput{{View: v, Zone: 4097}}}
	key := model.MemberKey{Set: filtertest.ID(700), Port: filtertest.ID(1)}
	for _, n := range []int{10, 70_000, 10} {
		mv := &model.MemberView{Key: key}
		for i := range n {
			mv.Prefixes = append(mv.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
		}
		in.Members = map[model.MemberKey]*model.MemberView{key: mv}
		apply(t, m, in)
		wantConverged(t, m, state(firewall.Hybrid(in)))
	}
}

// TestAnySequenceOfInputsConverges: from whatever was there, one Apply leads to
// what is wanted, and the manager knows what it left.
func TestAnySequenceOfInputsConverges(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		m := openManager(t, filtertest.NewNamespace(t), b)
		steps := 0
		rapid.Check(t, func(rt *rapid.T) {
			if steps++; steps > 30 {
				return // each is several runs of iptables
			}
			all := everyPort()
			in := firewall.Input{Groups: map[model.SecurityGroupID]*model.GroupView{}, Members: map[model.MemberKey]*model.MemberView{}}
			for _, p := range all.Ports {
				if rapid.Bool().Draw(rt, "port") {
					in.Ports = append(in.Ports, p)
				}
			}
			pool := everyRule()
			for id, g := range all.Groups {
				c := *g
				c.Rules = nil
				for range rapid.IntRange(0, 12).Draw(rt, "rules") {
					c.Rules = append(c.Rules, pool[rapid.IntRange(0, len(pool)-1).Draw(rt, "rule")])
				}
				in.Groups[id] = &c
			}
			for k, v := range all.Members {
				if rapid.Bool().Draw(rt, "member") {
					in.Members[k] = v
				}
			}
			apply(t, m, in)
			want := state(firewall.Hybrid(in))
			wantConverged(t, m, want)
			if c := HostLayout().Plan(*m.have, want); !c.Empty() {
				rt.Fatalf("the manager believes otherwise: %v", c.Describe())
			}
		})
	})
}

// TestFewChangesAreSingleEdits, which keep the counters of the other rules.
func TestFewChangesAreSingleEdits(t *testing.T) {
	have := &table.Chain{Name: "neutron-openvswi-x", Rules: []table.Rule{"-j A", "-j B", "-j C", "-j D", "-j E", "-j F"}}
	for _, c := range []struct {
		want  []table.Rule
		lines []string
	}{
		{[]table.Rule{"-j A", "-j B", "-j X", "-j C", "-j D", "-j E", "-j F"}, []string{"-I neutron-openvswi-x 3 -j X"}},
		{[]table.Rule{"-j A", "-j B", "-j D", "-j E", "-j F"}, []string{"-D neutron-openvswi-x -j C"}},
		{[]table.Rule{"-j A", "-j X", "-j C", "-j D", "-j E", "-j F"}, []string{"-D neutron-openvswi-x -j B", "-I neutron-openvswi-x 2 -j X"}},
	} {
		e, changed := planChain(have, &table.Chain{Name: have.Name, Rules: c.want})
		if !changed || e.declare || !reflect.DeepEqual(e.lines, c.lines) {
			t.Errorf("%v: %+v", c.want, e)
		}
	}
}

// TestRemovalLeavesTheTopChainToAnotherAgent: neutron-filter-top is not ours
// alone, nor are the jumps to it then.
func TestRemovalLeavesTheTopChainToAnotherAgent(t *testing.T) {
	bothBackends(t, func(t *testing.T, b Backend) {
		ns := filtertest.NewNamespace(t)
		m := openManager(t, ns, b)
		apply(t, m, everyPort())
		tool := "iptables-" + string(b)
		filtertest.Sh(t, filtertest.In(ns, tool+" -A neutron-filter-top -j ACCEPT"))
		if err := m.Remove(context.Background()); err != nil {
			t.Fatal(err)
		}
		got := filtertest.Sh(t, filtertest.In(ns, tool+" -S | grep -e neutron -e '-A'"))
		want := "-N neutron-filter-top\n-A FORWARD -j neutron-filter-top\n-A OUTPUT -j neutron-filter-top\n-A neutron-filter-top -j ACCEPT\n"
		if got != want {
			t.Errorf("left:\n%s", got)
		}
		apply(t, m, everyPort())
		wantConverged(t, m, state(firewall.Hybrid(everyPort())))
	})
}

func TestOwnSetsAreToldByTheirNames(t *testing.T) {
	for name, own := range map[string]bool{
		"NIPv46f83953a-b629-4da0-8205-": true, "NIPv66f83953a-b629-4da0-8205-": true, "NIPv46f83953a-b629-4da0-8205--n": true,
		"NIPv4": false, "NIPv5f83953a-b629-4da0-82050-": false, "IPv46f83953a-b629-4da0-8205-": false, "NIPv46F83953A-b629-4da0-8205-": false,
		"NIPv4foo": false, "NIPv46f83953a-b629-4da0-8205-x": false, "-n": false, "": false,
	} {
		if isOwnSet(name) != own {
			t.Errorf("%s: own = %v", name, !own)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 18, 0, 16, 1, 0, 0})
	f.Fuzz(func(t *testing.T, msg []byte) {
		if e, ok := parseEntry(msg); ok && (!e.conn.Src.IsValid() || !e.conn.Dst.IsValid()) {
			t.Error("an entry without addresses")
		}
	})
}

// manyPorts is 200 ports in one group, and a set of 1,000 members.
func manyPorts(n int) firewall.Input {
	g := filtertest.Group(1, true, filtertest.Rule(1, model.Egress, model.IPv4), filtertest.Rule(2, model.Egress, model.IPv6), filtertest.Rule(3, model.Ingress, model.IPv4, filtertest.FromGroup(filtertest.ID(700))),
		filtertest.Rule(4, model.Ingress, model.IPv6, filtertest.FromGroup(filtertest.ID(700))), filtertest.Rule(5, model.Ingress, model.IPv4, filtertest.Proto(1, -1, -1)))
	in := firewall.Input{Groups: filtertest.Groups(g), Members: map[model.MemberKey]*model.MemberView{}}
	nw := filtertest.Network()
	for i := range n {
		in.Ports = append(in.Ports, firewall.PortInput{View: filtertest.Port(i+1, []*model.GroupView{g}, fmt.Sprintf("10.0.%d.%d", i/250, i%250+1)), Network: nw, Zone: 4097})
	}
	for i := range 1000 {
		k := model.MemberKey{Set: filtertest.ID(700), Port: filtertest.ID(i)}
		in.Members[k] = &model.MemberView{Key: k, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 32)}}
	}
	return in
}

// BenchmarkChange times render, plan and apply of one change on a host with
// 200 ports; every second change takes back the one before.
func BenchmarkChange(b *testing.B) {
	for _, backend := range []Backend{NFT, Legacy} {
		for _, c := range []struct {
			name   string
			change func(in *firewall.Input, on bool)
		}{
			{"nothing", func(*firewall.Input, bool) {}},
			{"rule of a group of 200 ports", func(in *firewall.Input, on bool) {
				for id, g := range in.Groups {
					c := *g
					c.Rules = slices.Clone(c.Rules[:5])
					if on {
						c.Rules = append(c.Rules, filtertest.Rule(6, model.Ingress, model.IPv4, filtertest.Proto(6, 22, 22)))
					}
					in.Groups[id] = &c
				}
			}},
			{"port", func(in *firewall.Input, on bool) {
				in.Ports = in.Ports[:200]
				if on {
					in.Ports = append(in.Ports, firewall.PortInput{View: filtertest.Port(900, nil, "10.0.9.9"), Zone: 4098})
				}
			}},
			{"member of 1,000", func(in *firewall.Input, on bool) {
				k := model.MemberKey{Set: filtertest.ID(700), Port: filtertest.ID(5000)}
				if delete(in.Members, k); on {
					in.Members[k] = &model.MemberView{Key: k, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/32")}}
				}
			}},
		} {
			b.Run(string(backend)+"/"+c.name, func(b *testing.B) {
				m := openManager(b, filtertest.NewNamespace(b), backend)
				in := manyPorts(200)
				var cache firewall.Cache
				if _, err := m.Apply(context.Background(), state(cache.Hybrid(in))); err != nil {
					b.Fatal(err)
				}
				on := false
				for b.Loop() {
					on = !on
					c.change(&in, on)
					if _, err := m.Apply(context.Background(), state(cache.Hybrid(in))); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(string(backend)+"/200 ports from nothing", func(b *testing.B) {
			in := manyPorts(200)
			for b.Loop() {
				b.StopTimer()
				m := openManager(b, filtertest.NewNamespace(b), backend)
				b.StartTimer()
				if _, err := m.Apply(context.Background(), state(firewall.Hybrid(in))); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(backend)+"/restart with 200 ports, nothing changed", func(b *testing.B) {
			in := manyPorts(200)
			ns := filtertest.NewNamespace(b)
			m := openManager(b, ns, backend)
			if _, err := m.Apply(context.Background(), state(firewall.Hybrid(in))); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				m := openManager(b, ns, backend)
				if res, err := m.Apply(context.Background(), state(firewall.Hybrid(in))); err != nil || res.Changed {
					b.Fatal(res, err)
				}
			}
		})
	}
}
