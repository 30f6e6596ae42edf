package network

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/ipam"
	"weft/internal/server/store"
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

func poolSpec(texts ...string) SubnetPoolSpec {
	return SubnetPoolSpec{Name: Some("p"), Prefixes: Some(prefixes(texts...))}
}

func TestPoolKeepsPrefixesAsFewAsCanBe(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"10.80.0.0/16 10.64.0.0/12", "10.64.0.0/12 10.80.0.0/16"},
		{"10.0.1.0/24 10.0.0.0/24", "10.0.0.0/23"},
		{"10.0.0.0/8 10.1.0.0/16", "10.0.0.0/8"},
		{"10.0.0.7/24", "10.0.0.0/24"},
		{"fd00::/48 fd00:0:1::/48", "fd00::/47"},
	} {
		w := newWorld(t)
		var p *model.SubnetPool
		err := w.do(func(tx *store.Tx) (err error) {
			p, err = w.rules.CreateSubnetPool(tx, w.env, demo, poolSpec(strings.Fields(c.given)...))
			return err
		})
		if err != nil || !slices.Equal(p.Prefixes, prefixes(strings.Fields(c.want)...)) {
			t.Errorf("%s: %v, %v, want %s", c.given, p, err, c.want)
		}
	}
}

// pooled is a world with a scope of demo's, a pool in it, and a network.
type pooledWorld struct {
	*world
	scope *model.AddressScope
	pool  *model.SubnetPool
	net   *model.Network
}

func newPooled(t *testing.T) *pooledWorld {
	p := &pooledWorld{world: newWorld(t)}
	p.must(t, func(tx *store.Tx) (err error) {
		if p.scope, err = p.rules.CreateAddressScope(tx, p.env, demo, AddressScopeSpec{IPVersion: Some(4)}); err != nil {
			return err
		}
		spec := poolSpec("10.0.0.0/16")
		spec.DefaultPrefixLen, spec.AddressScopeID = Some(26), Some(p.scope.ID)
		if p.pool, err = p.rules.CreateSubnetPool(tx, p.env, demo, spec); err != nil {
			return err
		}
		p.net, err = p.rules.CreateNetwork(tx, p.env, demo, NetworkSpec{})
		return err
	})
	return p
}

func (p *pooledWorld) must(t *testing.T, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := p.do(fn); err != nil {
		t.Fatal(err)
	}
}

func (p *pooledWorld) subnet(tx *store.Tx, change func(*SubnetSpec)) (*model.Subnet, error) {
	spec := SubnetSpec{NetworkID: Some(p.net.ID), IPVersion: Some(4), SubnetPoolID: Some(p.pool.ID)}
	if change != nil {
		change(&spec)
	}
	return p.rules.CreateSubnet(tx, p.env, demo, spec)
}

func TestSubnetsFromAPool(t *testing.T) {
	p := newPooled(t)
	for _, c := range []struct {
		name, want string // the block, or the type of the error
		change     func(*SubnetSpec)
	}{
		{"of the default size", "10.0.0.0/26", nil},
		{"of a size", "10.0.0.64/28", func(s *SubnetSpec) { s.PrefixLen = Some(28) }},
		{"the smallest free block that fits", "10.0.0.96/27", func(s *SubnetSpec) { s.PrefixLen = Some(27) }},
		{"of a block", "10.0.128.0/24", func(s *SubnetSpec) { s.CIDR = Some("10.0.128.0/24") }},
		{"of the block of a gateway", "10.0.200.0/26", func(s *SubnetSpec) { s.Gateway = Some(netip.MustParseAddr("10.0.200.9")) }},
		{"of a block that is taken", "SubnetAllocationError", func(s *SubnetSpec) { s.CIDR = Some("10.0.128.0/25") }},
		{"of a block with a taken one", "SubnetAllocationError", func(s *SubnetSpec) { s.CIDR = Some("10.0.128.0/20") }},
		{"of a block outside", "SubnetAllocationError", func(s *SubnetSpec) { s.CIDR = Some("10.1.0.0/24") }},
		{"of a block of the other family", "SubnetAllocationError", func(s *SubnetSpec) { s.CIDR, s.IPVersion = Some("fd00::/64"), Opt[int]{} }},
		{"too small", "MaxPrefixSubnetAllocationError", func(s *SubnetSpec) { s.PrefixLen = Some(33) }},
		{"too large", "MinPrefixSubnetAllocationError", func(s *SubnetSpec) { s.PrefixLen = Some(7) }},
		{"larger than what is free", "SubnetAllocationError", func(s *SubnetSpec) { s.PrefixLen = Some(16) }},
		{"of the other family", "BadRequest", func(s *SubnetSpec) { s.IPVersion = Some(6) }},
		{"of a block and a size", "BadRequest", func(s *SubnetSpec) { s.CIDR, s.PrefixLen = Some("10.0.3.0/24"), Some(24) }},
		{"of two pools", "BadRequest", func(s *SubnetSpec) { s.UseDefaultPool = Some(true) }},
		{"allocation pools of an unknown block", "BadRequest", func(s *SubnetSpec) { s.Pools = Some([]model.Range{}) }},
		{"no default pool", "BadRequest", func(s *SubnetSpec) { s.SubnetPoolID, s.UseDefaultPool = Opt[model.SubnetPoolID]{}, Some(true) }},
		{"no pool on its network", "NetworkSubnetPoolAffinityError", func(s *SubnetSpec) {
			s.SubnetPoolID, s.CIDR = Opt[model.SubnetPoolID]{}, Some("192.0.2.0/24")
		}},
	} {
		got := ""
		err := p.do(func(tx *store.Tx) error {
			s, err := p.subnet(tx, c.change)
			if err == nil {
				got = s.CIDR.String()
			}
			return err
		})
		if f := fault.As(err); f != nil {
			got = f.Type
		} else if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, got, c.want, err)
		}
	}
}

func TestPoolsAndScopesAreRefused(t *testing.T) {
	p := newPooled(t)
	var loose, six *model.SubnetPool
	p.must(t, func(tx *store.Tx) (err error) {
		if _, err = p.subnet(tx, nil); err != nil {
			return err
		}
		if loose, err = p.rules.CreateSubnetPool(tx, p.env, demo, poolSpec("10.0.0.0/8")); err != nil {
			return err
		}
		six, err = p.rules.CreateSubnetPool(tx, p.env, demo, poolSpec("fd00::/48"))
		return err
	})
	update := func(who authn.Principal, pool *model.SubnetPool, spec SubnetPoolSpec) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			_, err := p.rules.UpdateSubnetPool(tx, p.env, who, pool.ID, spec, nil)
			return err
		}
	}
	create := func(who authn.Principal, spec SubnetPoolSpec) func(tx *store.Tx) error {
		return func(tx *store.Tx) error {
			_, err := p.rules.CreateSubnetPool(tx, p.env, who, spec)
			return err
		}
	}
	scoped := func(s *model.AddressScope) SubnetPoolSpec { return SubnetPoolSpec{AddressScopeID: Some(s.ID)} }
	for _, c := range []struct {
		name, want string
		do         func(tx *store.Tx) error
	}{
		{"no prefixes", "EmptySubnetPoolPrefixList", create(demo, poolSpec())},
		{"two families", "PrefixVersionMismatch", create(demo, poolSpec("10.0.0.0/8", "fd00::/48"))},
		{"another family by update", "PrefixVersionMismatch", func(tx *store.Tx) error {
			_, err := p.rules.AddPrefixes(tx, p.env, demo, loose.ID, prefixes("fd00::/48"))
			return err
		}},
		{"a prefix less", "IllegalSubnetPoolPrefixUpdate", update(demo, loose, SubnetPoolSpec{Prefixes: Some(prefixes("10.0.0.0/9"))})},
		{"bounds out of order", "IllegalSubnetPoolPrefixBounds", update(demo, loose, SubnetPoolSpec{MinPrefixLen: Some(27), MaxPrefixLen: Some(26)})},
		{"longer than an address", "IllegalSubnetPoolPrefixBounds", update(demo, loose, SubnetPoolSpec{MaxPrefixLen: Some(33)})},
		{"a default that is not allowed", "IllegalSubnetPoolPrefixBounds", update(demo, loose, SubnetPoolSpec{DefaultPrefixLen: Some(4)})},
		{"shared, by a member", "PolicyNotAuthorized", create(demo, SubnetPoolSpec{Prefixes: Some(prefixes("10.0.0.0/8")), Shared: Some(false)})},
		{"default, by a member", "PolicyNotAuthorized", update(demo, loose, SubnetPoolSpec{IsDefault: Some(false)})},
		{"another's", "SubnetPoolNotFound", update(other, loose, SubnetPoolSpec{Name: Some("x")})},
		{"a scope of another family", "IllegalSubnetPoolIpVersionAssociationToAddressScope", update(demo, six, scoped(p.scope))},
		{"a scope with the same addresses", "AddressScopePrefixConflict", update(demo, loose, scoped(p.scope))},
		{"another's scope", "AddressScopeNotFound", create(other, SubnetPoolSpec{Prefixes: Some(prefixes("192.0.2.0/24")), AddressScopeID: Some(p.scope.ID)})},
		{"removing what is in use", "IllegalSubnetPoolPrefixUpdate", func(tx *store.Tx) error {
			_, err := p.rules.RemovePrefixes(tx, p.env, demo, p.pool.ID, prefixes("10.0.0.0/24"))
			return err
		}},
		{"removing all", "EmptySubnetPoolPrefixList", func(tx *store.Tx) error {
			_, err := p.rules.RemovePrefixes(tx, p.env, demo, six.ID, prefixes("fd00::/40"))
			return err
		}},
		{"deleting a pool in use", "SubnetPoolDeleteError", func(tx *store.Tx) error { return p.rules.DeleteSubnetPool(tx, p.env, demo, p.pool.ID, nil) }},
		{"deleting a scope in use", "AddressScopeInUse", func(tx *store.Tx) error { return p.rules.DeleteAddressScope(tx, p.env, demo, p.scope.ID, nil) }},
	} {
		err := p.do(c.do)
		if f := fault.As(err); f == nil || f.Type != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	p.must(t, func(tx *store.Tx) error {
		got, err := p.rules.RemovePrefixes(tx, p.env, demo, p.pool.ID, prefixes("10.0.128.0/17", "192.0.2.0/24"))
		if err == nil && !slices.Equal(got.Prefixes, prefixes("10.0.0.0/17")) {
			t.Errorf("what is left: %v", got.Prefixes)
		}
		return err
	})
}

// A network is in the scope of its subnets' pool, and a pool leaves its scope only when nothing else of the family is
// on the networks of its subnets.
func TestScopeOfANetwork(t *testing.T) {
	p := newPooled(t)
	var second *model.SubnetPool
	p.must(t, func(tx *store.Tx) (err error) {
		spec := poolSpec("192.168.0.0/16")
		spec.AddressScopeID = Some(p.scope.ID)
		if second, err = p.rules.CreateSubnetPool(tx, p.env, demo, spec); err != nil {
			return err
		}
		_, err = p.subnet(tx, nil)
		return err
	})
	if got := p.store.Snapshot().NetworkScope(p.net.ID, 4); got != p.scope.ID {
		t.Errorf("scope %s", got)
	}
	if got := p.store.Snapshot().NetworkScope(p.net.ID, 6); !got.IsZero() {
		t.Errorf("IPv6 scope %s", got)
	}
	leave := func(tx *store.Tx) error {
		_, err := p.rules.UpdateSubnetPool(tx, p.env, demo, p.pool.ID, SubnetPoolSpec{AddressScopeID: NullOf[model.AddressScopeID]()}, nil)
		return err
	}
	p.must(t, func(tx *store.Tx) error {
		_, err := p.subnet(tx, func(s *SubnetSpec) { s.SubnetPoolID, s.PrefixLen = Some(second.ID), Some(24) })
		return err
	})
	if f := fault.As(p.do(leave)); f == nil || f.Type != "NetworkAddressScopeAffinityError" {
		t.Errorf("left its scope: %v", f)
	}
	p.must(t, func(tx *store.Tx) error {
		for s := range tx.SubnetsByPool(second.ID) {
			return p.rules.DeleteSubnet(tx, p.env, demo, s.ID, nil)
		}
		return nil
	})
	p.must(t, leave)
	if got := p.store.Snapshot().NetworkScope(p.net.ID, 4); !got.IsZero() {
		t.Errorf("scope %s after the pool left it", got)
	}
}

// What a project may have of a pool is counted in addresses, or in prefixes of 64 bits, and for itself.
func TestShareOfAPool(t *testing.T) {
	for _, c := range []struct {
		prefix        string
		version, bits int
		quota, fit    int
	}{
		{"10.0.0.0/16", 4, 26, 200, 3},
		{"fd00::/48", 6, 62, 9, 2},
		{"fd00::/48", 6, 66, 1, 4},
	} {
		w := newWorld(t)
		n, made := (*model.Network)(nil), 0
		create := func(who authn.Principal, pool *model.SubnetPool) error {
			return w.do(func(tx *store.Tx) error {
				_, err := w.rules.CreateSubnet(tx, w.env, who, SubnetSpec{NetworkID: Some(n.ID), IPVersion: Some(c.version), SubnetPoolID: Some(pool.ID), PrefixLen: Some(c.bits)})
				return err
			})
		}
		var pool *model.SubnetPool
		if err := w.do(func(tx *store.Tx) (err error) {
			if n, err = w.rules.CreateNetwork(tx, w.env, demo, NetworkSpec{}); err != nil {
				return err
			}
			spec := poolSpec(c.prefix)
			spec.DefaultQuota, spec.MinPrefixLen, spec.Shared = Some(c.quota), Some(20), Some(true)
			pool, err = w.rules.CreateSubnetPool(tx, w.env, admin, spec)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		var err error
		for err = create(demo, pool); err == nil; err = create(demo, pool) {
			made++
		}
		if f := fault.As(err); made != c.fit || f == nil || f.Type != "SubnetPoolQuotaExceeded" {
			t.Errorf("%s: %d subnets, then %v; want %d", c.prefix, made, err, c.fit)
		}
		if err := create(admin, pool); err != nil {
			t.Errorf("another project: %v", err)
		}
	}
}

// TestRandomPoolOperationsKeepTheRules: subnets of a pool never overlap, lie in its prefixes, and a pool that says that it has
// no block of a size left has none.
func TestRandomPoolOperationsKeepTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := openWorld(t, func(c *Config) { c.Quotas[QuotaSubnet], c.Quotas[QuotaNetwork] = -1, -1 })
		defer w.stop()
		var pool *model.SubnetPool
		if err := w.do(func(tx *store.Tx) (err error) {
			pool, err = w.rules.CreateSubnetPool(tx, w.env, demo, poolSpec("10.0.0.0/26", "10.0.0.96/27"))
			return err
		}); err != nil {
			t.Fatalf("pool: %v", err)
		}
		block := func() netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 255).Draw(t, "address"))}), rapid.IntRange(25, 32).Draw(t, "bits")).Masked()
		}
		for i := range rapid.IntRange(1, 30).Draw(t, "operations") {
			w.env = testEnv(uint64(i + 2))
			before := w.store.Snapshot()
			full, bits := false, rapid.IntRange(26, 32).Draw(t, "length")
			err := w.do(func(tx *store.Tx) (err error) {
				switch rapid.IntRange(0, 4).Draw(t, "operation") {
				case 0:
					if subnets := slices.Collect(tx.SubnetsByPool(pool.ID)); len(subnets) > 0 {
						err = w.rules.DeleteNetwork(tx, w.env, demo, rapid.SampledFrom(subnets).Draw(t, "subnet").NetworkID, nil)
					}
				case 1:
					_, err = w.rules.AddPrefixes(tx, w.env, demo, pool.ID, []netip.Prefix{block()})
				case 2:
					_, err = w.rules.RemovePrefixes(tx, w.env, demo, pool.ID, []netip.Prefix{block()})
				default:
					n, err := w.rules.CreateNetwork(tx, w.env, demo, NetworkSpec{})
					if err != nil {
						return err
					}
					spec := SubnetSpec{NetworkID: Some(n.ID), IPVersion: Some(4), EnableDHCP: Some(false), SubnetPoolID: Some(pool.ID)}
					if full = rapid.Bool().Draw(t, "any"); full {
						spec.PrefixLen = Some(bits)
					} else {
						spec.CIDR = Some(block().String())
					}
					_, err = w.rules.CreateSubnet(tx, w.env, demo, spec)
					return err
				}
				return err
			})
			if f := fault.As(err); err != nil && (f == nil || f.Kind == fault.Internal) {
				t.Fatalf("operation: %v", err)
			}
			s := w.store.Snapshot()
			var taken []netip.Prefix
			p := s.SubnetPool(pool.ID)
			for sub := range s.SubnetsByPool(pool.ID) {
				if len(ipam.Intersect(taken, []netip.Prefix{sub.CIDR})) > 0 {
					t.Fatalf("%s overlaps another of %v", sub.CIDR, taken)
				}
				if taken = append(taken, sub.CIDR); len(ipam.Subtract([]netip.Prefix{sub.CIDR}, p.Prefixes)) > 0 {
					t.Fatalf("%s is outside %v", sub.CIDR, p.Prefixes)
				}
			}
			if full && err != nil {
				for _, free := range ipam.Subtract(before.SubnetPool(pool.ID).Prefixes, blocksOf(before, pool.ID)) {
					if free.Bits() <= bits {
						t.Fatalf("no /%d, although %s is free: %v", bits, free, err)
					}
				}
			}
		}
	})
}

func blocksOf(s *store.Snapshot, pool model.SubnetPoolID) []netip.Prefix {
	var out []netip.Prefix
	for sub := range s.SubnetsByPool(pool) {
		out = append(out, sub.CIDR)
	}
	return out
}
