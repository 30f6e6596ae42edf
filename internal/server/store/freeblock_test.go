package store

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/model"
	"weft/internal/server/ipam"
)

// Random subnets of one pool come and go; what is free is the pool's prefixes without them, and the block that is found
// is at the beginning of the smallest piece of that which it fits in.
func TestFreeBlocksAreWhatSubnetsLeave(t *testing.T) {
	for name, base := range map[string]netip.Addr{"IPv4": netip.MustParseAddr("10.0.0.0"), "IPv6": netip.MustParseAddr("fd00::")} {
		t.Run(name, func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { checkFreeBlocks(t, base) }) })
	}
}

func checkFreeBlocks(t *rapid.T, base netip.Addr) {
	whole := base.BitLen() - 8
	block := func(label string) netip.Prefix {
		a := base.AsSlice()
		a[len(a)-1] = rapid.Byte().Draw(t, label)
		addr, _ := netip.AddrFromSlice(a)
		return netip.PrefixFrom(addr, whole+rapid.IntRange(0, 8).Draw(t, "bits")).Masked()
	}
	var prefixes []netip.Prefix
	for range rapid.IntRange(1, 4).Draw(t, "prefixes") {
		prefixes = append(prefixes, block("prefix"))
	}
	prefixes = ipam.Merge(prefixes...)
	pool := model.SubnetPoolID{UUID: uuid('o', 1)}
	r := Reader{newTables()}
	tx := &Tx{Reader: r}
	taken := map[model.SubnetID]netip.Prefix{}
	for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
		s := &model.Subnet{ID: model.SubnetID{UUID: uuid('s', i)}, SubnetPoolID: pool}
		free := ipam.Subtract(prefixes, slices.Collect(maps.Values(taken)))
		bits := whole + rapid.IntRange(0, 8).Draw(t, "length")
		found, ok := r.FreeBlock(pool, prefixes, bits)
		if want := bestFit(free, bits); found != want || ok != want.IsValid() {
			t.Fatalf("of %v a block of %d bits: %v, want %v", free, bits, found, want)
		}
		any := block("any")
		if got, want := r.BlockIsFree(pool, any), len(ipam.Intersect([]netip.Prefix{any}, slices.Collect(maps.Values(taken)))) == 0; got != want {
			t.Fatalf("%v is free: %v, want %v", any, got, want)
		}
		switch {
		case len(taken) > 0 && rapid.IntRange(0, 2).Draw(t, "remove") == 0:
			ids := slices.SortedFunc(maps.Keys(taken), func(a, b model.SubnetID) int { return a.Compare(b.UUID) })
			id := rapid.SampledFrom(ids).Draw(t, "removed")
			tx.DeleteSubnet(id)
			delete(taken, id)
		case ok:
			s.CIDR = found
			tx.PutSubnet(s)
			taken[s.ID] = found
		}
	}
	for id := range taken {
		tx.DeleteSubnet(id)
	}
	if n := r.t.subnets.free.tree.len(); n != 0 {
		t.Fatalf("%d blocks are kept of a pool without subnets", n)
	}
}

func bestFit(free []netip.Prefix, bits int) netip.Prefix {
	var best netip.Prefix
	for _, p := range free {
		if p.Bits() <= bits && (!best.IsValid() || p.Bits() > best.Bits()) {
			best = p
		}
	}
	if !best.IsValid() {
		return best
	}
	return netip.PrefixFrom(best.Addr(), bits)
}

// A pool of 100 000 subnets gives the next one as fast as one of few.
func BenchmarkFreeBlock(b *testing.B) {
	pool, prefixes := model.SubnetPoolID{UUID: uuid('o', 1)}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	r := Reader{newTables()}
	tx := &Tx{Reader: r}
	put := func(i int) {
		p, ok := r.FreeBlock(pool, prefixes, 28)
		if !ok {
			b.Fatal("full")
		}
		tx.PutSubnet(&model.Subnet{ID: model.SubnetID{UUID: model.UUID{byte(i >> 16), byte(i >> 8), byte(i)}}, SubnetPoolID: pool, CIDR: p})
	}
	for i := range 100_000 {
		put(i)
	}
	for i := 0; i < 100_000; i += 3 {
		tx.DeleteSubnet(model.SubnetID{UUID: model.UUID{byte(i >> 16), byte(i >> 8), byte(i)}})
	}
	b.ResetTimer()
	for b.Loop() {
		if _, ok := r.FreeBlock(pool, prefixes, 28); !ok {
			b.Fatal("full")
		}
	}
}
