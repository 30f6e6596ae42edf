package firewall

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/host/flow"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// plugged gives the ports of a world OpenFlow numbers.
func plugged(in Input) Input {
	for i := range in.Ports {
		in.Ports[i].OFPort = uint32(11 + i)
	}
	return in
}

// scratch is all flows of an input, made by a cache that has seen nothing.
func scratch(in Input) []flow.Flow {
	var c FlowCache
	out := c.Native(in)
	return append(slices.Clone(out.Flows), c.AllMembers()...)
}

// TestFollowingStepsEqualsStartingFromScratch: whatever sequence of inputs, what a
// bridge holds that takes over lists and steps is what a new cache makes of the last.
func TestFollowingStepsEqualsStartingFromScratch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c FlowCache
		holds := map[string]flow.Flow{}
		var before []flow.Flow
		at := uint64(0)
		in := plugged(world(t))
		for range rapid.IntRange(1, 6).Draw(t, "changes") {
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				in = plugged(step(t, in))
			default: // members only: they come, go, and change their addresses
				in.Members = maps.Clone(in.Members)
				for key := range in.Members {
					if rapid.IntRange(0, 2).Draw(t, "goes") == 0 {
						delete(in.Members, key)
					}
				}
				maps.Copy(in.Members, world(t).Members)
			}
			out := c.Native(in)
			if out.Members.From != at {
				t.Fatalf("the step begins at %d, not at %d", out.Members.From, at)
			}
			at = out.Members.To
			add, del := flow.Diff(out.Flows, before, nil)
			before = out.Flows
			for _, f := range append(add, out.Members.Add...) {
				holds[f.Key()] = f
			}
			for _, f := range append(del, out.Members.Del...) {
				delete(holds, f.Key())
			}
			want := scratch(in)
			for _, f := range want {
				if got, ok := holds[f.Key()]; !ok || !got.Equal(f) {
					t.Fatalf("lacks %s, has %s", f, got)
				}
			}
			if len(holds) != len(want) || out.Members.Total+len(out.Flows) != len(want) {
				t.Fatalf("holds %d flows, counts %d, want %d", len(holds), out.Members.Total+len(out.Flows), len(want))
			}
			var fresh FlowCache
			ref := fresh.Native(in)
			if fmt.Sprint(out.Problems, out.MemberProblems) != fmt.Sprint(ref.Problems, ref.MemberProblems) {
				t.Fatalf("problems %v %v, want %v %v", out.Problems, out.MemberProblems, ref.Problems, ref.MemberProblems)
			}
		}
	})
}

// TestWhateverTheInputTheFlowsAreWhole: no two have the same key, all are ours, every
// conjunction has its flow and is used, and of a port's flows none lets everything in.
func TestWhateverTheInputTheFlowsAreWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := plugged(world(t))
		flows := scratch(in)
		keys := map[string]bool{}
		used, defined := map[string]bool{}, map[string]bool{}
		for _, f := range flows {
			if keys[f.Key()] {
				t.Fatalf("twice: %s", f)
			}
			keys[f.Key()] = true
			if !pipeline.Mine(f) {
				t.Fatalf("not ours: %s", f)
			}
			if f.Table < pipeline.IntEgressBase || f.Table > pipeline.IntForward {
				t.Fatalf("not a table of the firewall: %s", f)
			}
			if id, ok := f.Match.Get(flow.ConjID); ok {
				defined[fmt.Sprint(f.Table, id.Uint())] = true
			}
			for _, a := range f.Actions {
				if c, ok := a.(flow.Conjunction); ok && c.Clause == 2 {
					used[fmt.Sprint(f.Table, c.ID)] = true
				}
			}
			if back, err := flow.Parse(f.String()); err != nil || !back.Equal(f) {
				t.Fatalf("%s reads back as %s, %v", f, back, err)
			}
		}
		if !maps.Equal(used, defined) {
			t.Fatalf("conjunctions used %v, defined %v", used, defined)
		}
	})
}

// TestARuleThatCannotBeExpressedDisablesOnlyItself: Open vSwitch knows no ports of
// DCCP and UDP-Lite.
func TestARuleThatCannotBeExpressedDisablesOnlyItself(t *testing.T) {
	good, bad := rule(1, model.Ingress, model.IPv4, proto(6, 22, 22)), rule(2, model.Ingress, model.IPv4, proto(33, 5, 5))
	with := &model.GroupView{ID: model.SecurityGroupID{UUID: num(9)}, Stateful: true, Rules: []model.RuleView{good, bad}}
	without := &model.GroupView{ID: with.ID, Stateful: true, Rules: with.Rules[:1]}
	in := func(g *model.GroupView) Input {
		return plugged(Input{Ports: []PortInput{{View: port(1, g), Zone: 1}}, Groups: groupsByID(g)})
	}
	var c FlowCache
	out := c.Native(in(with))
	if err := out.Problems[in(with).Ports[0].View.ID]; err == nil || err.Error() != (&RuleError{bad.ID, errNoPorts.Error()}).Error() {
		t.Errorf("reported %v", err)
	}
	if add, del := flow.Diff(out.Flows, scratch(in(without)), nil); len(add)+len(del) > 0 {
		t.Errorf("other flows differ: %v %v", add, del)
	}
}

// TestSetsThatBeginAlikeHaveTheirOwnNumbers.
func TestSetsThatBeginAlikeHaveTheirOwnNumbers(t *testing.T) {
	a, b, c := model.UUID{0xff, 0xff, 0xff, 0xff, 1}, model.UUID{0xff, 0xff, 0xff, 0xff, 2}, model.UUID{0, 0, 0, 0, 1}
	ids := conjunctionIDs(map[model.UUID]setUse{a: 1, b: 1, c: 1})
	if ids[a] != 0xffffffff || ids[b] == ids[a] || ids[b] == 0 || ids[c] == ids[b] || ids[c] == 0 {
		t.Errorf("%x", ids)
	}
}

// TestAMemberIsOneFlowADirection: however many rules and ports name a group.
func TestAMemberIsOneFlowADirection(t *testing.T) {
	in := crowd(1000)
	var c FlowCache
	c.Native(in)
	in.Members = maps.Clone(in.Members)
	key := model.MemberKey{Set: num(700), Port: num(5000)}
	in.Members[key] = &model.MemberView{Key: key, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.99.0.1/32")}}
	s := c.Native(in).Members
	if len(s.Add) != 2 || len(s.Del) != 0 {
		t.Errorf("a member that joins: %v %v", s.Add, s.Del)
	}
	delete(in.Members, key)
	if s = c.Native(in).Members; len(s.Add) != 0 || len(s.Del) != 2 {
		t.Errorf("a member that leaves: %v %v", s.Add, s.Del)
	}
}

// crowd is a host of 50 ports whose group lets its own n members in and out.
func crowd(n int) Input {
	set := num(700)
	g := &model.GroupView{ID: model.SecurityGroupID{UUID: set}, Stateful: true}
	for i, d := range []model.Direction{model.Ingress, model.Egress} {
		for j := range 5 {
			r := rule(10*i+j, d, model.IPv4, proto(6, 100*j, 100*j+50))
			r.RemoteGroup.UUID = set
			g.Rules = append(g.Rules, r)
		}
	}
	in := Input{Groups: groupsByID(g), Members: map[model.MemberKey]*model.MemberView{}}
	for i := range 50 {
		in.Ports = append(in.Ports, PortInput{View: port(i+1, g), Zone: 1})
	}
	for i := range n {
		key := model.MemberKey{Set: set, Port: num(10000 + i)}
		in.Members[key] = &model.MemberView{Key: key, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)}}
	}
	return plugged(in)
}

// BenchmarkMemberOf10000 is what a member that joins or leaves a group of 10,000
// costs, up to the flows to write.
func BenchmarkMemberOf10000(b *testing.B) {
	in := crowd(10_000)
	var c FlowCache
	c.Native(in)
	key := model.MemberKey{Set: num(700), Port: num(5000)}
	m := &model.MemberView{Key: key, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.99.0.1/32")}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			in.Members[key] = m
		} else {
			delete(in.Members, key)
		}
		if s := c.Native(in).Members; len(s.Add)+len(s.Del) != 2 {
			b.Fatal(s)
		}
	}
}
