package ipam_test

import (
	"errors"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/server/ipam"
)

// taken is a sorted list of used addresses that counts how often it is asked.
type taken struct {
	addrs []netip.Addr
	asked *int
}

func (u taken) Has(a netip.Addr) bool {
	*u.asked++
	_, ok := slices.BinarySearchFunc(u.addrs, a, netip.Addr.Compare)
	return ok
}

func (u taken) From(a netip.Addr) iter.Seq[netip.Addr] {
	i, _ := slices.BinarySearchFunc(u.addrs, a, netip.Addr.Compare)
	return func(yield func(netip.Addr) bool) {
		for _, a := range u.addrs[i:] {
			*u.asked++
			if !yield(a) {
				return
			}
		}
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func rng(first, last string) model.Range { return model.Range{First: addr(first), Last: addr(last)} }

func seeded(seed uint64) func() uint64 { return rand.New(rand.NewPCG(seed, 0)).Uint64 }

func TestDefaultPools(t *testing.T) {
	for _, c := range []struct {
		name, cidr, gateway string
		want                []model.Range
	}{
		{"gateway is the first", "10.0.0.0/24", "10.0.0.1", []model.Range{rng("10.0.0.2", "10.0.0.254")}},
		{"gateway is the last", "10.0.0.0/24", "10.0.0.254", []model.Range{rng("10.0.0.1", "10.0.0.253")}},
		{"gateway in between", "10.0.0.0/24", "10.0.0.100", []model.Range{rng("10.0.0.1", "10.0.0.99"), rng("10.0.0.101", "10.0.0.254")}},
		{"no gateway", "10.0.0.0/24", "", []model.Range{rng("10.0.0.1", "10.0.0.254")}},
		{"gateway outside", "10.0.0.0/24", "192.0.2.1", []model.Range{rng("10.0.0.1", "10.0.0.254")}},
		{"gateway is the network address", "10.0.0.0/24", "10.0.0.0", []model.Range{rng("10.0.0.1", "10.0.0.254")}},
		{"/30", "10.0.0.0/30", "10.0.0.1", []model.Range{rng("10.0.0.2", "10.0.0.2")}},
		{"/31 has neither network nor broadcast", "10.0.0.0/31", "10.0.0.0", []model.Range{rng("10.0.0.1", "10.0.0.1")}},
		{"/32 is the gateway: nothing left", "10.0.0.0/32", "10.0.0.0", []model.Range{}},
		{"all of IPv4", "0.0.0.0/0", "", []model.Range{rng("0.0.0.1", "255.255.255.254")}},
		{"IPv6 has no broadcast", "2001:db8::/64", "2001:db8::1", []model.Range{rng("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff")}},
		{"gateway is the anycast address", "2001:db8::/64", "2001:db8::", []model.Range{rng("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff")}},
		{"/127", "2001:db8::/127", "2001:db8::1", []model.Range{rng("2001:db8::", "2001:db8::")}},
		{"host bits are ignored", "10.0.0.9/24", "10.0.0.1", []model.Range{rng("10.0.0.2", "10.0.0.254")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var gateway netip.Addr
			if c.gateway != "" {
				gateway = addr(c.gateway)
			}
			if got := ipam.DefaultPools(netip.MustParsePrefix(c.cidr), gateway); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestValidPools(t *testing.T) {
	v4, v6 := "10.0.0.0/24", "2001:db8::/64"
	for _, c := range []struct {
		name, cidr string
		pools      []model.Range
		want       []model.Range
		kind       ipam.PoolErrorKind
	}{
		{"sorted", v4, []model.Range{rng("10.0.0.50", "10.0.0.60"), rng("10.0.0.2", "10.0.0.9")},
			[]model.Range{rng("10.0.0.2", "10.0.0.9"), rng("10.0.0.50", "10.0.0.60")}, 0},
		{"neighbours", v4, []model.Range{rng("10.0.0.2", "10.0.0.9"), rng("10.0.0.10", "10.0.0.10")},
			[]model.Range{rng("10.0.0.2", "10.0.0.9"), rng("10.0.0.10", "10.0.0.10")}, 0},
		{"none", v4, nil, nil, 0},
		{"whole IPv6", v6, []model.Range{rng("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff")},
			[]model.Range{rng("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff")}, 0},
		{"backwards", v4, []model.Range{rng("10.0.0.9", "10.0.0.2")}, nil, ipam.PoolInvalid},
		{"two families", v4, []model.Range{rng("10.0.0.9", "2001:db8::1")}, nil, ipam.PoolInvalid},
		{"nothing in it", v4, []model.Range{{}}, nil, ipam.PoolInvalid},
		{"zone", "fe80::/64", []model.Range{rng("fe80::1%eth0", "fe80::2%eth0")}, nil, ipam.PoolInvalid},
		{"other family", v4, []model.Range{rng("2001:db8::1", "2001:db8::2")}, nil, ipam.PoolOutside},
		{"mapped IPv4 is IPv6", v4, []model.Range{rng("::ffff:10.0.0.2", "::ffff:10.0.0.3")}, nil, ipam.PoolOutside},
		{"network address", v4, []model.Range{rng("10.0.0.0", "10.0.0.9")}, nil, ipam.PoolOutside},
		{"broadcast", v4, []model.Range{rng("10.0.0.9", "10.0.0.255")}, nil, ipam.PoolOutside},
		{"anycast", v6, []model.Range{rng("2001:db8::", "2001:db8::9")}, nil, ipam.PoolOutside},
		{"beyond", v4, []model.Range{rng("10.0.0.9", "10.0.1.9")}, nil, ipam.PoolOutside},
		{"overlap", v4, []model.Range{rng("10.0.0.9", "10.0.0.20"), rng("10.0.0.2", "10.0.0.9")}, nil, ipam.PoolsOverlap},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ipam.ValidPools(netip.MustParsePrefix(c.cidr), c.pools)
			var pe *ipam.PoolError
			if c.kind != 0 {
				if !errors.As(err, &pe) || pe.Kind != c.kind || pe.Error() == "" {
					t.Errorf("got %v, want an error of kind %d", err, c.kind)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestEUI64(t *testing.T) {
	mac, err := model.ParseMAC("fa:16:3e:00:00:01")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ipam.EUI64(netip.MustParsePrefix("2001:db8:0:1::/64"), mac)
	if want := addr("2001:db8:0:1:f816:3eff:fe00:1"); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, p := range []string{"10.0.0.0/24", "2001:db8::/65", "::ffff:10.0.0.0/120"} {
		if got, err := ipam.EUI64(netip.MustParsePrefix(p), mac); err == nil {
			t.Errorf("%s: got %v, want an error", p, got)
		}
	}
}

func TestPickFindsTheLastAddress(t *testing.T) {
	pools := []model.Range{rng("10.1.0.1", "10.1.127.255"), rng("10.1.128.1", "10.1.255.254")}
	var all []netip.Addr
	for _, p := range pools {
		for a := p.First; !p.Last.Less(a); a = a.Next() {
			all = append(all, a)
		}
	}
	for _, free := range []netip.Addr{pools[0].First, pools[0].Last, pools[1].First, pools[1].Last, addr("10.1.200.7")} {
		used := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return a == free })
		if got, ok := ipam.Pick(pools, taken{used, new(int)}, seeded(1)); !ok || got != free {
			t.Errorf("got %v, %v, want %v", got, ok, free)
		}
	}
	if got, ok := ipam.Pick(pools, taken{all, new(int)}, seeded(1)); ok {
		t.Errorf("got %v of full pools", got)
	}
	if got, ok := ipam.Pick(nil, taken{nil, new(int)}, seeded(1)); ok {
		t.Errorf("got %v of no pools", got)
	}
}

func TestPickAsksFewQuestionsWhileThereIsRoom(t *testing.T) {
	pool := []model.Range{rng("10.0.0.1", "10.0.255.254")}
	var used []netip.Addr
	for a := pool[0].First; len(used) < 30000; a = a.Next() {
		used = append(used, a)
	}
	asked := 0
	random := seeded(2)
	for range 1000 {
		if _, ok := ipam.Pick(pool, taken{used, &asked}, random); !ok {
			t.Fatal("no address in a half-full pool")
		}
	}
	// Each probe fails with probability 30000/65534.
	if asked > 3000 {
		t.Errorf("%d questions for 1000 addresses, want about 1850", asked)
	}
}

func TestPickReachesTheEndsOfAllAddresses(t *testing.T) {
	for _, p := range []model.Range{
		rng("0.0.0.0", "255.255.255.255"),
		rng("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
		rng("255.255.255.255", "255.255.255.255"),
		rng("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
	} {
		random := seeded(3)
		for range 100 {
			if got, ok := ipam.Pick([]model.Range{p}, taken{nil, new(int)}, random); !ok || !p.Contains(got) || got.Is4() != p.First.Is4() {
				t.Fatalf("%v: got %v, %v", p, got, ok)
			}
		}
	}
	top := rng("255.255.255.254", "255.255.255.255")
	if got, ok := ipam.Pick([]model.Range{top}, taken{[]netip.Addr{top.First, top.Last}, new(int)}, seeded(4)); ok {
		t.Errorf("got %v of a full pool at the end of all addresses", got)
	}
}

// drawPools draws a subnet, up to four valid pools of it, and used addresses.
func drawPools(t *rapid.T) (pools []model.Range, used []netip.Addr) {
	base := rapid.SampledFrom([]string{"10.0.0.0", "192.0.2.0", "255.255.255.0", "2001:db8::", "2001:db8:ffff:ffff::", "::"}).Draw(t, "base")
	at := addr(base)
	n := rapid.IntRange(1, 4).Draw(t, "pools")
	for range n {
		for range rapid.IntRange(0, 5).Draw(t, "space") {
			at = at.Next()
		}
		r := model.Range{First: at}
		for range rapid.IntRange(0, 20).Draw(t, "size") {
			at = at.Next()
		}
		r.Last = at
		at = at.Next()
		pools = append(pools, r)
	}
	for a := addr(base); a.Less(at); a = a.Next() {
		if rapid.IntRange(0, 9).Draw(t, "used") > 1 {
			used = append(used, a)
		}
	}
	return pools, used
}

func TestPickedAddressIsFreeAndInAPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools, used := drawPools(t)
		free := 0
		for _, p := range pools {
			for a := p.First; !p.Last.Less(a); a = a.Next() {
				if !slices.Contains(used, a) {
					free++
				}
			}
		}
		random := seeded(rapid.Uint64().Draw(t, "seed"))
		// Take all there are: each is free and in a pool, and none is missed.
		for n := range free {
			got, ok := ipam.Pick(pools, taken{used, new(int)}, random)
			if !ok || !ipam.InPools(pools, got) || slices.Contains(used, got) {
				t.Fatalf("address %d of %d: got %v, %v", n, free, got, ok)
			}
			i, _ := slices.BinarySearchFunc(used, got, netip.Addr.Compare)
			used = slices.Insert(used, i, got)
		}
		if got, ok := ipam.Pick(pools, taken{used, new(int)}, random); ok {
			t.Fatalf("got %v when all are used", got)
		}
	})
}

func TestExcludeTakesExactlyOneAddress(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pools, _ := drawPools(t)
		p := pools[rapid.IntRange(0, len(pools)-1).Draw(t, "which")]
		gone := rapid.SampledFrom([]netip.Addr{p.First, p.Last, p.First.Next(), p.Last.Next()}).Draw(t, "gone")
		got := ipam.Exclude(pools, gone)
		if ipam.InPools(got, gone) {
			t.Fatalf("%v is still in %v", gone, got)
		}
		want := ipam.Size(pools)
		if ipam.InPools(pools, gone) {
			want--
		}
		if n := ipam.Size(got); n != want {
			t.Fatalf("%d addresses are left of %d", n, ipam.Size(pools))
		}
		for i := 1; i < len(got); i++ {
			if !got[i-1].Last.Less(got[i].First) {
				t.Fatalf("%v are not sorted and disjoint", got)
			}
		}
	})
}

// Each address of small pools shall come about as often as each other: 6
// standard deviations for a seed that does not change.
func TestPickIsEven(t *testing.T) {
	pools := []model.Range{rng("10.0.0.1", "10.0.0.3"), rng("10.0.0.7", "10.0.0.7"), rng("10.0.0.10", "10.0.0.15")}
	random, hits := seeded(5), map[netip.Addr]int{}
	for range 10000 {
		a, _ := ipam.Pick(pools, taken{nil, new(int)}, random)
		hits[a]++
	}
	if len(hits) != 10 {
		t.Errorf("%d of 10 addresses came", len(hits))
	}
	for a, n := range hits {
		if n < 820 || n > 1180 {
			t.Errorf("%v came %d times of 10000", a, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	pool := []model.Range{rng("10.0.0.1", "10.0.255.254")}
	for _, full := range []struct {
		name string
		n    int
	}{{"half", 32000}, {"99.9%", 65470}} {
		var used []netip.Addr
		order := rand.New(rand.NewPCG(1, 1)).Perm(65534)[:full.n]
		slices.Sort(order)
		for _, i := range order {
			used = append(used, netip.AddrFrom4([4]byte{10, 0, byte((i + 1) >> 8), byte(i + 1)}))
		}
		b.Run(full.name, func(b *testing.B) {
			random := seeded(6)
			for b.Loop() {
				ipam.Pick(pool, taken{used, new(int)}, random)
			}
		})
	}
}
