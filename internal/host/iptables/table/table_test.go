package table

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSpellingsOfOneRuleAreOneRule(t *testing.T) {
	names := Protocols{"carp": 112}
	for _, same := range [][]string{
		{"-p 112 -j RETURN", "-p vrrp -j RETURN", "--protocol VRRP -j RETURN", "-p carp -j RETURN"},
		{"-p ipv6-icmp -j RETURN", "-p 58 -j RETURN", "-p icmpv6 -j RETURN"},
		{"-p tcp -m tcp --dport 22 -j RETURN", "  -p  6 -m tcp\t--dport 22 -j RETURN\r"},
		{"-s 10.0.0.1/32 -j DROP", "-s 10.0.0.1 -j DROP", "-s 10.0.0.1/255.255.255.255 -j DROP"},
		{"-d 10.0.0.0/24 -j DROP", "-d 10.0.0.9/24 -j DROP", "--destination 10.0.0.0/255.255.255.0 -j DROP"},
		{"-s 2001:db8::/32 -j DROP", "-s 2001:DB8:0:0::5/32 -j DROP"},
		{"-m mac --mac-source fa:16:3e:0:0:1 -j DROP", "-m mac --mac-source FA:16:3E:0:0:1 -j DROP"},
		{"-m state --state RELATED,ESTABLISHED -j RETURN", "-m state --state ESTABLISHED,RELATED -j RETURN"},
		{`-m comment --comment word -j DROP`, `-m comment --comment "word" -j DROP`},
		{`-m comment --comment "a \"b\" \\ c" -j DROP`, `-m comment --comment "a \"b\" \\"" c" -j DROP`},
	} {
		for _, s := range same {
			if got, err := names.Normalize(s); err != nil || string(got) != same[0] {
				t.Errorf("%s = %s, %v; want %s", s, got, err, same[0])
			}
		}
	}
}

func TestDifferentRulesStayDifferent(t *testing.T) {
	rules := []string{
		"-p icmp -j RETURN", "-p icmp -m icmp --icmp-type 8 -j RETURN", "-p icmp -m icmp --icmp-type 8/0 -j RETURN", "-j RETURN", "-j DROP",
		"-s 10.0.0.0/24 -j RETURN", "-s 10.0.0.0/25 -j RETURN", "! -s 10.0.0.0/24 -j RETURN", "-s 10.0.0.0/255.0.255.0 -j RETURN",
		"-m state --state NEW -j RETURN", "-m state --state NEW,FOO -j RETURN", `-m comment --comment "-s 10.0.0.1" -j RETURN`,
		`-m comment --comment "-s 10.0.0.1/32" -j RETURN`, "-p 300 -j RETURN",
	}
	seen := map[Rule]string{}
	for _, s := range rules {
		r, err := Protocols{}.Normalize(s)
		if err != nil {
			t.Fatal(err)
		}
		if other, dup := seen[r]; dup {
			t.Errorf("%s and %s are the same", s, other)
		}
		seen[r] = s
	}
}

func TestADumpThatCannotBeReadNamesItsLine(t *testing.T) {
	for text, line := range map[string]int{
		"-A INPUT -j DROP\n": 1,
		"*filter\n*nat\n":    2,
		"*filter\n:INPUT ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n": 3,
		"*filter\n-A INPUT -j DROP\n":                         2,
		"*filter\n:INPUT\n":                                   2,
		"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT \"x\n":        3,
		"*filter\n:INPUT ACCEPT [0:0]\nwhat\n":                3,
		"*filter\n[1:2]\n":                                    2,
		"*filter\nCOMMIT\n*filter\nCOMMIT\n":                  3,
	} {
		_, err := Protocols{}.Parse(text)
		if e, ok := err.(*ParseError); !ok || e.Line != line {
			t.Errorf("%q: %v, want line %d", text, err, line)
		}
	}
	if _, err := (Protocols{}).Parse("*filter\n"); err == nil {
		t.Error("a table without COMMIT was taken")
	}
}

func TestSetMembersAreSortedMaskedAndNeverEverything(t *testing.T) {
	var got []netip.Prefix
	for _, s := range []string{"10.0.0.9/24", "0.0.0.0/0", "10.0.0.5/32", "10.0.0.0/24", "::/0"} {
		got = AppendMember(got, netip.MustParsePrefix(s))
	}
	var want []netip.Prefix
	for _, s := range []string{"0.0.0.0/1", "10.0.0.0/24", "10.0.0.5/32", "128.0.0.0/1", "::/1", "8000::/1"} {
		want = append(want, netip.MustParsePrefix(s))
	}
	if got = SortMembers(got); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestRulesetsAreReadBackAsWritten: Parse(Text(x)) is x, for rules of any words.
func TestRulesetsAreReadBackAsWritten(t *testing.T) {
	word := rapid.StringMatching(`[-a-zA-Z0-9 "'\\/:.,_+!]{0,12}`)
	rapid.Check(t, func(t *rapid.T) {
		chain := Chain{Name: "c", Policy: "-"}
		for range rapid.IntRange(0, 5).Draw(t, "rules") {
			words := rapid.SliceOfN(word, 1, 6).Draw(t, "words")
			r, err := Protocols{}.Normalize(join(words))
			if err != nil {
				t.Fatal(err)
			}
			chain.Rules = append(chain.Rules, r)
		}
		in := Ruleset{{Name: "filter", Chains: []Chain{chain}}}
		out, err := Protocols{}.Parse(in.Text())
		if err != nil || !reflect.DeepEqual(in, out) {
			t.Fatalf("%v\n%+v\n%+v", err, in, out)
		}
	})
}

// TestSetsAreReadBackAsWritten: ParseSets(SetsText(x)) is x.
func TestSetsAreReadBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Set{Name: "NIPv4x", Family: IPv4, MaxElem: rapid.IntRange(1, 1<<20).Draw(t, "maxelem")}
		if rapid.Bool().Draw(t, "v6") {
			s.Family = IPv6
		}
		for range rapid.IntRange(0, 9).Draw(t, "members") {
			b := rapid.SliceOfN(rapid.Byte(), s.Family.Bits()/8, s.Family.Bits()/8).Draw(t, "address")
			a, _ := netip.AddrFromSlice(b)
			s.Members = AppendMember(s.Members, netip.PrefixFrom(a, rapid.IntRange(0, s.Family.Bits()).Draw(t, "bits")))
		}
		s.Members = SortMembers(s.Members)
		out, err := ParseSets(SetsText([]Set{s}))
		if err != nil || len(out) != 1 || !reflect.DeepEqual(out[0], s) {
			t.Fatalf("%v\n%v\n%v", err, s, out)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("# c\n*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n[1:2] -A a -s 10.0.0.1 -m comment --comment \"x y\" -j DROP\nCOMMIT\n")
	f.Add("*raw\n:P - [0:0]\n-A P\nCOMMIT\n")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := Protocols{}.Parse(text)
		if err != nil {
			return
		}
		second, err := Protocols{}.Parse(first.Text())
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%v\n%#v\n%#v", err, first, second)
		}
	})
}

func FuzzParseSets(f *testing.F) {
	f.Add("create NIPv4a hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x4bb085dc\nadd NIPv4a 10.0.0.1\nadd NIPv4a 10.0.0.0/24\n")
	f.Add("create 0 hash:net maxelem 0")
	f.Add("create x hash:ip family inet\nadd x 1.2.3.4\ncreate b hash:net family inet6\nadd b ::/1\n")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := ParseSets(text)
		if err != nil {
			return
		}
		second, err := ParseSets(SetsText(first))
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%v\n%v\n%v", err, first, second)
		}
	})
}

func FuzzNormalize(f *testing.F) {
	f.Add(`-p 6 -s 1.2.3.4 -m comment --comment "a \" b" -j DROP`)
	f.Fuzz(func(t *testing.T, rule string) {
		first, err := Protocols{}.Normalize(rule)
		if err != nil {
			return
		}
		if second, err := (Protocols{}).Normalize(string(first)); err != nil || first != second {
			t.Fatalf("%v\n%#v\n%#v", err, first, second)
		}
	})
}
