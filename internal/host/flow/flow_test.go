package flow

import (
	"net"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

var mac = net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 5}

// parsed returns one flow of every shape.
func parsed(t testing.TB) []Flow {
	t.Helper()
	var out []Flow
	for _, line := range lines(t, "testdata/shapes.txt") {
		f, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

func TestBuildersSayWhatTheTextSays(t *testing.T) {
	port := uint32(5)
	for _, c := range []struct {
		flow Flow
		text string
	}{
		{Flow{}, "cookie=0x0, table=0, priority=0 actions=drop"},
		{
			Flow{Table: 21, Priority: 1, Match: MatchARP().Vlan(1).Addr(ARPTPA, netip.MustParseAddr("10.0.0.5")).InPort(port),
				Actions: []Action{
					Set(ARPOp, 2), Move{Whole(ARPSHA), Whole(ARPTHA)}, SetMAC(ARPSHA, mac),
					SetAddr(ARPSPA, netip.MustParseAddr("10.0.0.5")), Output{Port: PortInPort},
				}},
			"cookie=0x0, table=21, priority=1,arp,in_port=5,dl_vlan=1,arp_tpa=10.0.0.5 actions=set_field:2->arp_op,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],set_field:fa:16:3e:00:00:05->arp_sha,set_field:10.0.0.5->arp_spa,IN_PORT",
		},
		{
			Flow{Table: 10, Priority: 1, Actions: []Action{Learn{Table: 20, HardTimeout: 300, Priority: 1, Specs: []LearnSpec{
				LearnMatch(Range(VlanTCI, 0, 11), Range(VlanTCI, 0, 11)), LearnMatch(Whole(EthDst), Whole(EthSrc)),
				LearnLoadValue(0, Whole(VlanTCI)), LearnLoad(Whole(TunID), Whole(TunID)), LearnOutput(Whole(InPort)),
			}}}},
			"cookie=0x0, table=10, priority=1 actions=learn(table=20,hard_timeout=300,priority=1,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[])",
		},
		{
			Flow{Table: 72, Priority: 77, Match: MatchTCP(EtherTypeIPv6).CTState(CTNew, CTEst).Reg(5, 3).Masked(TCPDst, 80, 0xfff0),
				Actions: []Action{CT{Commit: true, ZoneSrc: Range(Reg(6), 0, 15), Exec: []Action{Set(CTMark, 1)}}, GotoTable{73}}},
			"cookie=0x0, table=72, priority=77,ct_state=+new-est,tcp6,reg5=0x3,tp_dst=0x50/0xfff0 actions=ct(commit,zone=NXM_NX_REG6[0..15],exec(set_field:0x1->ct_mark)),goto_table:73",
		},
		{
			Flow{Match: MatchIPv4().Prefix(IPv4Src, netip.MustParsePrefix("10.1.0.0/16")).Prefix(IPv4Dst, netip.MustParsePrefix("0.0.0.0/0")),
				Actions: []Action{PushVLAN{}, SetVlan(7), SetTunnel(100), Load{1, Range(Reg(0), 3, 3)}}},
			"cookie=0x0, table=0, priority=0,ip,nw_src=10.1.0.0/16 actions=push_vlan:0x8100,set_field:4103->vlan_vid,set_field:0x64->tun_id,load:0x1->NXM_NX_REG0[3]",
		},
	} {
		if got := c.flow.String(); got != c.text {
			t.Errorf("text\n got  %s\n want %s", got, c.text)
		}
		if back, err := Parse(c.text); err != nil || !back.Equal(c.flow) {
			t.Errorf("parsed %s, error %v, want %s", back, err, c.flow)
		}
	}
}

func TestTheSameMeaningIsEqual(t *testing.T) {
	for _, c := range []struct {
		rule string
		a, b Flow
	}{
		{"order of a match", Flow{Match: Match{}.InPort(1).EthDst(mac)}, Flow{Match: Match{}.EthDst(mac).InPort(1)}},
		{"a VLAN id is part of the TCI", Flow{Match: Match{}.Vlan(5)}, Flow{Match: Match{}.Masked(VlanTCI, 0x1005, 0x1fff)}},
		{"no tag has no priority", Flow{Match: Match{}.Untagged()}, Flow{Match: Match{}.Uint(VlanTCI, 0)}},
		{"wide registers are registers", Flow{Match: Match{}.Uint(XReg0, 1<<32|2)}, Flow{Match: Match{}.Reg(0, 1).Reg(1, 2)}},
		{"bits outside of a mask", Flow{Match: Match{}.Bytes(Reg0, Value{1, 2, 3, 4}, Value{0, 0, 0, 0xff})}, Flow{Match: Match{}.Masked(Reg0, 4, 0xff)}},
		{"a mask of nothing", Flow{Match: Match{}.Masked(Reg0, 4, 0)}, Flow{}},
		{"load of a whole field", Flow{Actions: []Action{Load{7, Whole(Reg1)}}}, Flow{Actions: []Action{Set(Reg1, 7)}}},
		{"masked write of adjacent bits", Flow{Actions: []Action{SetMasked(Reg1, 0x70, 0xf0)}}, Flow{Actions: []Action{Load{7, Range(Reg1, 4, 7)}}}},
		{"goto runs last", Flow{Actions: []Action{GotoTable{3}, Output{Port: 1}}}, Flow{Actions: []Action{Output{Port: 1}, GotoTable{3}}}},
		{"port of entry of a resubmit", Flow{Actions: []Action{Resubmit{Table: 2}}}, Flow{Actions: []Action{Resubmit{Table: 2, InPort: PortInPort}}}},
		{"NAT to one address", Flow{Actions: []Action{CT{NAT: &NAT{Src: true, AddrMin: netip.MustParseAddr("10.0.0.1"), AddrMax: netip.MustParseAddr("10.0.0.1")}}}},
			Flow{Actions: []Action{CT{NAT: &NAT{Src: true, AddrMin: netip.MustParseAddr("10.0.0.1")}}}}},
	} {
		if !c.a.Equal(c.b) || c.a.Key() != c.b.Key() {
			t.Errorf("%s: %s and %s differ", c.rule, c.a, c.b)
		}
	}
}

func TestEveryDifferenceCounts(t *testing.T) {
	base := Flow{Table: 1, Priority: 1, Match: Match{}.InPort(1), Actions: []Action{Output{Port: 1}}}
	for name, change := range map[string]func(*Flow){
		"cookie":   func(f *Flow) { f.Cookie = 1 },
		"idle":     func(f *Flow) { f.IdleTimeout = 1 },
		"hard":     func(f *Flow) { f.HardTimeout = 1 },
		"actions":  func(f *Flow) { f.Actions = nil },
		"table":    func(f *Flow) { f.Table = 2 },
		"priority": func(f *Flow) { f.Priority = 2 },
		"match":    func(f *Flow) { f.Match = f.Match.Reg(0, 0) },
	} {
		f := base
		change(&f)
		if f.Equal(base) {
			t.Errorf("%s does not count", name)
		}
		keyed := name == "table" || name == "priority" || name == "match"
		if (f.Key() != base.Key()) != keyed {
			t.Errorf("%s: is it in the key? %v", name, !keyed)
		}
	}
}

func TestAMatchIsNeverChangedByAnotherMadeFromIt(t *testing.T) {
	base := MatchIPv4().InPort(1).Reg(5, 1)
	a, b := base.Reg(6, 1), base.Reg(6, 2)
	if a.Equal(b) || len(base) != 3 {
		t.Errorf("base %s, a %s, b %s", base, a, b)
	}
}

func TestDiff(t *testing.T) {
	at := func(priority uint16, cookie uint64) Flow { return Flow{Priority: priority, Cookie: cookie} }
	have := []Flow{at(1, 1), at(2, 1), at(3, 9), at(4, 1)}
	want := []Flow{at(5, 1), at(2, 2), at(1, 1), at(6, 1), at(6, 2)}
	add, del := Diff(want, have, func(f Flow) bool { return f.Cookie != 9 })
	if len(add) != 3 || !add[0].Equal(at(5, 1)) || !add[1].Equal(at(2, 2)) || !add[2].Equal(at(6, 2)) {
		t.Errorf("add %v", add)
	}
	if len(del) != 1 || !del[0].Equal(at(4, 1)) {
		t.Errorf("delete %v", del)
	}
}

func TestDiffOfAnyTwoListsConverges(t *testing.T) {
	all := parsed(t)
	rapid.Check(t, func(t *rapid.T) {
		pickSome := func(label string) []Flow {
			var out []Flow
			for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(all)-1), 0, 20, rapid.ID[int]).Draw(t, label) {
				f := all[i]
				f.Cookie = rapid.Uint64Range(0, 1).Draw(t, "cookie")
				out = append(out, f)
			}
			return out
		}
		want, have := pickSome("want"), pickSome("have")
		table := map[string]Flow{}
		for _, f := range have {
			table[f.Key()] = f
		}
		add, del := Diff(want, have, nil)
		for _, f := range add {
			table[f.Key()] = f
		}
		for _, f := range del {
			if _, ok := table[f.Key()]; !ok {
				t.Fatalf("deletes what is not there: %s", f)
			}
			delete(table, f.Key())
		}
		if len(table) != len(want) {
			t.Fatalf("%d flows in place of %d", len(table), len(want))
		}
		for _, f := range want {
			if !table[f.Key()].Equal(f) {
				t.Fatalf("missing %s", f)
			}
		}
	})
}

func TestPortMasksCoverTheRangeAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Uint16().Draw(t, "lo")
		hi := rapid.Uint16Range(lo, 0xffff).Draw(t, "hi")
		masks := PortMasks(lo, hi)
		if len(masks) > 30 {
			t.Fatalf("%d masks", len(masks))
		}
		for p := range 0x10000 {
			n := 0
			for _, m := range masks {
				if uint16(p)&m.Mask == m.Value {
					n++
				}
			}
			inside := p >= int(lo) && p <= int(hi)
			if inside && n != 1 || !inside && n != 0 {
				t.Fatalf("port %d is in %d masks of %d-%d", p, n, lo, hi)
			}
		}
	})
}

func TestDecodedEqualsEncoded(t *testing.T) {
	for _, f := range parsed(t) {
		m, rest, err := DecodeMatch(AppendMatch(nil, f.Match))
		if err != nil || len(rest) != 0 || !m.Equal(f.Match) {
			t.Errorf("match %s became %s, %d bytes left, error %v", f.Match, m, len(rest), err)
		}
		actions, err := DecodeInstructions(AppendInstructions(nil, f.Actions))
		g := f
		g.Actions = actions
		if err != nil || !g.Equal(f) || g.String() != f.String() {
			t.Errorf("%s became %s, error %v", f, g, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"", "priority=1", "priority=1,actions", "priority=70000,actions=drop", "table=256,actions=drop",
		"dl_vlan=5000,actions=drop", "nosuch=1,actions=drop", "ip,nw_src=fe80::1,actions=drop", "nw_tos=3,actions=drop",
		"actions=nosuch", "actions=ct(", "actions=ct(zone=NXM_NX_REG6[0..40])", "actions=ct(exec(goto_table:3))",
		"actions=set_field:1->nosuch", "actions=set_field:0x100000000->reg0", "actions=load:2->NXM_NX_REG0[3]",
		"actions=move:NXM_NX_REG0[]->NXM_OF_ETH_DST[]", "actions=raw(00)", "actions=output:\"nobody\"",
		"conj_id=1/1f,actions=drop", "actions=learn(NXM_OF_ETH_DST[]=NXM_OF_VLAN_TCI[])",
		"actions=write_actions(write_actions(drop))", "actions=mod_vlan_vid:1",
	} {
		if f, err := Parse(text); err == nil {
			t.Errorf("%q was read as %s", text, f)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range lines(f, "testdata/shapes.txt") {
		f.Add(line)
	}
	f.Add("cookie=0x1, duration=1s, n_packets=0, priority=1,in_port=\"a b\",actions=output:\"a b\"")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			return
		}
		b, err := Parse(a.String())
		if err != nil {
			t.Fatalf("%q was printed as %q: %v", text, a, err)
		}
		if !a.Equal(b) {
			t.Fatalf("%q and %q differ", a, b)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, fl := range parsed(f) {
		f.Add(AppendMatch(nil, fl.Match), AppendInstructions(nil, fl.Actions))
	}
	f.Fuzz(func(t *testing.T, match, instructions []byte) {
		DecodeKnownFields(match)
		if m, _, err := DecodeMatch(match); err == nil {
			again, rest, err := DecodeMatch(AppendMatch(nil, m))
			if err != nil || len(rest) != 0 || !again.Equal(m) {
				t.Fatalf("match %s became %s: %v", m, again, err)
			}
			_ = m.String()
		}
		actions, err := DecodeInstructions(instructions)
		if err != nil {
			return
		}
		a := Flow{Actions: actions}
		again, err := DecodeInstructions(AppendInstructions(nil, actions))
		if b := (Flow{Actions: again}); err != nil || !a.Equal(b) {
			t.Fatalf("%s became %s: %v", a, b, err)
		}
		if text := a.String(); len(text) < maxText {
			if b, err := Parse(text); err != nil || !a.Equal(b) {
				t.Fatalf("%s was read as %s: %v", text, b, err)
			}
		}
	})
}
