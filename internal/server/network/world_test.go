package network

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/authn"
	"weft/internal/server/journal"
	"weft/internal/server/store"
)

// The people of the tests.
var (
	admin  = authn.NewPrincipal("admin-project", "a", authn.RoleAdmin)
	demo   = authn.NewPrincipal("demo", "d", authn.RoleMember)
	other  = authn.NewPrincipal("other", "o", authn.RoleMember)
	reader = authn.NewPrincipal("demo", "r", authn.RoleReader)
)

// world is a store in memory with rules on it.
type world struct {
	tb    testing.TB
	store *store.Store
	rules *Rules
	env   Env
	stop  func()
}

func newWorld(tb testing.TB, change ...func(*Config)) *world {
	w := openWorld(tb, change...)
	tb.Cleanup(w.stop)
	return w
}

// tbOnly is what a rapid.T has of a testing.TB.
type tbOnly interface {
	Helper()
	Fatalf(format string, args ...any)
}

func openWorld(tb tbOnly, change ...func(*Config)) *world {
	tb.Helper()
	cfg := DefaultConfig()
	cfg.VLANRanges = map[string][]IDRange{"physnet1": {{1, 4000}}}
	cfg.FlatNetworks = []string{"physnet1"}
	for _, c := range change {
		c(&cfg)
	}
	rules, err := New(cfg)
	if err != nil {
		tb.Fatalf("config: %v", err)
	}
	s := store.New(journal.NewMemory(), store.Options{Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Ready()
	w := &world{store: s, rules: rules, env: testEnv(1), stop: func() {
		cancel()
		<-done
	}}
	w.tb, _ = tb.(testing.TB)
	return w
}

// testEnv is a world of fixed time and of numbers that repeat with the seed.
func testEnv(seed uint64) Env {
	n := seed << 32
	return Env{
		Now: time.Date(2026, 11, 23, 6, 43, 50, 12345, time.UTC),
		Random: func() [16]byte {
			var b [16]byte
			for i := range 2 { // splitmix64
				n += 0x9e3779b97f4a7c15
				z := (n ^ n>>30) * 0xbf58476d1ce4e5b9
				z = (z ^ z>>27) * 0x94d049bb133111eb
				binary.BigEndian.PutUint64(b[i*8:], z^z>>31)
			}
			return b
		},
	}
}

// do runs one transaction and returns its error.
func (w *world) do(fn func(tx *store.Tx) error) error {
	_, err := w.store.Update(context.Background(), fn)
	return err
}

// try runs one rule in a transaction of its own.
func try[T any](w *world, fn func(tx *store.Tx) (T, error)) (T, error) {
	var out T
	err := w.do(func(tx *store.Tx) (err error) {
		out, err = fn(tx)
		return err
	})
	return out, err
}

// must is try for what must work.
func must[T any](w *world, fn func(tx *store.Tx) (T, error)) T {
	w.tb.Helper()
	out, err := try(w, fn)
	if err != nil {
		w.tb.Fatalf("unexpected error: %v", err)
	}
	return out
}

func (w *world) network(who authn.Principal, spec NetworkSpec) *model.Network {
	w.tb.Helper()
	return must(w, func(tx *store.Tx) (*model.Network, error) { return w.rules.CreateNetwork(tx, w.env, who, spec) })
}

func (w *world) subnet(who authn.Principal, n *model.Network, cidr string, change ...func(*SubnetSpec)) *model.Subnet {
	w.tb.Helper()
	spec := subnetSpec(n, cidr, change...)
	return must(w, func(tx *store.Tx) (*model.Subnet, error) { return w.rules.CreateSubnet(tx, w.env, who, spec) })
}

func subnetSpec(n *model.Network, cidr string, change ...func(*SubnetSpec)) SubnetSpec {
	spec := SubnetSpec{NetworkID: Some(n.ID), CIDR: Some(cidr)}
	for _, c := range change {
		c(&spec)
	}
	return spec
}

func (w *world) port(who authn.Principal, n *model.Network, change ...func(*PortSpec)) *model.Port {
	w.tb.Helper()
	p, err := w.tryPort(who, n, change...)
	if err != nil {
		w.tb.Fatalf("creating port: %v", err)
	}
	return p
}

func (w *world) tryPort(who authn.Principal, n *model.Network, change ...func(*PortSpec)) (*model.Port, error) {
	spec := PortSpec{NetworkID: Some(n.ID)}
	for _, c := range change {
		c(&spec)
	}
	return try(w, func(tx *store.Tx) (*model.Port, error) { return w.rules.CreatePort(tx, w.env, who, spec) })
}

func (w *world) tryUpdatePort(who authn.Principal, id model.PortID, spec PortSpec) (*model.Port, error) {
	return try(w, func(tx *store.Tx) (*model.Port, error) { return w.rules.UpdatePort(tx, w.env, who, id, spec, nil) })
}

func (w *world) group(who authn.Principal, name string) *model.SecurityGroup {
	w.tb.Helper()
	return must(w, func(tx *store.Tx) (*model.SecurityGroup, error) {
		return w.rules.CreateSecurityGroup(tx, w.env, who, SecurityGroupSpec{Name: Some(name)})
	})
}

func (w *world) tryRule(who authn.Principal, spec SecurityGroupRuleSpec) (*model.SecurityGroupRule, error) {
	return try(w, func(tx *store.Tx) (*model.SecurityGroupRule, error) {
		return w.rules.CreateSecurityGroupRule(tx, w.env, who, spec)
	})
}

func (w *world) host(name string, change ...func(*model.Host)) {
	h := &model.Host{Name: name, AgentID: model.AgentID{UUID: w.env.uuid()}, Roles: []string{"compute"}, AdminStateUp: true,
		TunnelAddr: netip.MustParseAddr("10.0.1.31"), TunnelTypes: []model.NetworkType{model.TypeGRE},
		Mappings: map[string]string{"physnet1": "br-ex"}, Firewall: model.FirewallNative}
	for _, c := range change {
		c(h)
	}
	if err := w.do(func(tx *store.Tx) error { tx.PutHost(h); return nil }); err != nil {
		w.tb.Fatal(err)
	}
}

// wantFault checks kind, name and sentence of a refusal; an empty sentence is
// not looked at.
func wantFault(t testing.TB, err error, kind fault.Kind, typ, message string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault %s", err, typ)
	}
	if f.Kind != kind || f.Type != typ || message != "" && f.Message != message {
		t.Fatalf("got kind %d %s: %s\nwant kind %d %s: %s", f.Kind, f.Type, f.Message, kind, typ, message)
	}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mac(s string) model.MAC {
	m, err := model.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func addrsOf(p *model.Port) []string {
	var out []string
	for _, f := range p.FixedIPs {
		out = append(out, f.Addr.String())
	}
	return out
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
