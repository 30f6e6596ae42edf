package store

import (
	"weft/internal/model"
)

// tables is the whole state at one moment. The live one is changed by the
// writer's transactions; frozen copies are what snapshots read.
type tables struct {
	revision uint64 // of the journal: the last batch that is known to be in here
	seq      uint64 // of commits in this process, for subscriptions
	epoch    *epoch // of all trees

	networks networkTable
	subnets  subnetTable
	ports    portTable
	reports  reportTable
	groups   groupTable
	rules    ruleTable
	hosts    hostTable
	quotas   quotaTable

	routers     routerTable
	floating    floatingTable
	forwardings forwardingTable
	scopes      scopeTable
	pools       poolTable

	addressGroups addressGroupTable
}

func newTables() *tables {
	e := &epoch{}
	return &tables{
		epoch: e,

		networks: newNetworkTable(e),
		subnets:  newSubnetTable(e),
		ports:    newPortTable(e),
		reports:  newReportTable(e),
		groups:   newGroupTable(e),
		rules:    newRuleTable(e),
		hosts:    newHostTable(e),
		quotas:   newQuotaTable(e),

		routers:     newRouterTable(e),
		floating:    newFloatingTable(e),
		forwardings: newForwardingTable(e),
		scopes:      newScopeTable(e),
		pools:       newPoolTable(e),

		addressGroups: newAddressGroupTable(e),
	}
}

// freeze returns an immutable copy. It costs the same however many rows there are, and nothing for a tree but
// the copy of its root's address; the next write to a tree copies the nodes that it touches. What is frozen may be
// frozen again, to be written to instead of what it is a copy of.
func (t *tables) freeze() *tables {
	c := *t
	t.epoch.now++
	return &c
}

// loaders returns what takes the rows of each table, by the table's name in
// the journal.
func (t *tables) loaders() map[string]loader {
	all := map[string]loader{}
	addLoader(all, &t.networks)
	addLoader(all, &t.subnets)
	addLoader(all, &t.ports)
	addLoader(all, &t.reports)
	addLoader(all, &t.groups)
	addLoader(all, &t.rules)
	addLoader(all, &t.hosts)
	addLoader(all, &t.quotas)
	addLoader(all, &t.routers)
	addLoader(all, &t.floating)
	addLoader(all, &t.forwardings)
	addLoader(all, &t.scopes)
	addLoader(all, &t.pools)
	addLoader(all, &t.addressGroups)
	return all
}

func addLoader[K comparable, T any](to map[string]loader, t typed[K, T]) {
	to[t.base().kind.name] = tableLoader[K, T]{t}
}

// Reader offers the reads that snapshots and transactions have in common.
//
// Objects are shared and immutable: Clone one to change it. Getters return nil
// when there is no such object. Sequences are in order of the objects' ids unless they
// say otherwise; in a transaction, the loop's body may put and delete what it likes:
// objects further on are seen as they are when their turn comes.
type Reader struct{ t *tables }

// Revision is the journal's revision of the last batch that the state holds.
// In a transaction it is that of the last durable one: what this and preceding
// transactions of the same batch changed has no revision yet.
func (r Reader) Revision() uint64 { return r.t.revision }

// Snapshot is the durable state at one revision. It does not change, needs no
// closing and may be kept as long as it is of use; it then holds on to the
// rows that have been replaced since.
type Snapshot struct{ Reader }

// projectOf returns a key function for tables whose objects have a Meta.
func projectOf[T any](meta func(*T) *model.Meta) func(*T, []string) []string {
	return func(obj *T, to []string) []string { return append(to, meta(obj).ProjectID) }
}

func nameOf[T any](meta func(*T) *model.Meta) func(*T, []string) []string {
	return func(obj *T, to []string) []string { return append(to, meta(obj).Name) }
}

// unlessEmpty returns a key function for texts that many objects have not got: these have no entry.
func unlessEmpty[T any](text func(*T) string) func(*T, []string) []string {
	return func(obj *T, to []string) []string {
		if s := text(obj); s != "" {
			to = append(to, s)
		}
		return to
	}
}
