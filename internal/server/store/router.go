package store

import (
	"iter"
	"net/netip"

	"weft/internal/model"
)

type routerTable struct {
	table[model.RouterID, model.Router]
	byProject index[string, model.Router]
	byName    index[string, model.Router]
	byHost    index[string, model.Router]
	handed    index[string, model.Router] // by the host that they come from
	perHost   index[string, model.Router] // by those of Hosts alone
	byFirst   index[string, model.Router] // by the first of their hosts
}

func newRouterTable(e *epoch) routerTable {
	meta := func(r *model.Router) *model.Meta { return &r.Meta }
	hosts := func(r *model.Router, to []string) []string { return append(to, r.Hosts...) }
	return routerTable{
		table:     newTable(e, byUUID[model.RouterID], uuidKind("router", func(r *model.Router) model.RouterID { return r.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
		byHost:    newIndex(e, byText, func(r *model.Router, to []string) []string { return append(to, r.Gateways()...) }),
		perHost:   newIndex(e, byText, hosts),
		handed: newIndex(e, byText, func(r *model.Router, to []string) []string {
			if r.HandOver != nil {
				to = append(to, r.HandOver.From)
			}
			return to
		}),
		byFirst: newIndex(e, byText, func(r *model.Router, to []string) []string {
			return append(to, r.Hosts[:min(len(r.Hosts), 1)]...)
		}),
	}
}

func (t *routerTable) indexes() []indexer[model.Router] {
	return []indexer[model.Router]{&t.rows, &t.byProject, &t.byName, &t.byHost, &t.perHost, &t.handed, &t.byFirst}
}

// Router returns a router, nil when there is none of that id.
func (r Reader) Router(id model.RouterID) *model.Router { return object(r.RouterRow(id)) }

// RouterRow returns the row of a router, nil when there is none of that id.
func (r Reader) RouterRow(id model.RouterID) *Row[model.Router] { return r.t.routers.get(id) }

// Routers yields all routers.
func (r Reader) Routers() iter.Seq[*model.Router] { return objects(r.RouterRows()) }

// RouterRows yields the rows of all routers.
func (r Reader) RouterRows() iter.Seq[*Row[model.Router]] { return r.t.routers.rows.every() }

// RouterRowsByProject yields the rows of the routers that a project owns.
func (r Reader) RouterRowsByProject(project string) iter.Seq[*Row[model.Router]] {
	return r.t.routers.byProject.all(project)
}

// RoutersByHost yields the routers that a gateway host has: it serves them, preferred or not, or hands them over.
func (r Reader) RoutersByHost(host string) iter.Seq[*model.Router] {
	return objects(r.t.routers.byHost.all(host))
}

// RoutersHandedOver yields the routers that a planned move is not over for.
func (r Reader) RoutersHandedOver() iter.Seq[*model.Router] {
	return objects(r.t.routers.handed.every())
}

// RoutersHandedOverBy yields those of them that a host hands over.
func (r Reader) RoutersHandedOverBy(host string) iter.Seq[*model.Router] {
	return objects(r.t.routers.handed.all(host))
}

// RouterCount tells how many routers a project owns.
func (r Reader) RouterCount(project string) int { return r.t.routers.byProject.count(project) }

// RouterCountByHost tells how many routers a gateway host is to serve.
func (r Reader) RouterCountByHost(host string) int { return r.t.routers.perHost.count(host) }

// RouterCountByPreferredHost tells for how many routers a gateway host is the preferred one.
func (r Reader) RouterCountByPreferredHost(host string) int { return r.t.routers.byFirst.count(host) }

// RoutersByName yields the routers of a name, of any project.
func (r Reader) RoutersByName(name string) iter.Seq[*model.Router] {
	return objects(r.t.routers.byName.all(name))
}

// PutRouter inserts a router, or replaces the one of the same id. The transaction owns it from
// now on.
func (tx *Tx) PutRouter(r *model.Router) { tx.record(put(&tx.t.routers, r)) }

// DeleteRouter deletes a router; deleting what is absent does nothing.
func (tx *Tx) DeleteRouter(id model.RouterID) { tx.record(drop(&tx.t.routers, id)) }

type floatingTable struct {
	table[model.FloatingIPID, model.FloatingIP]
	byProject index[string, model.FloatingIP]
	byRouter  index[model.RouterID, model.FloatingIP]
	byPort    index[model.PortID, model.FloatingIP]
	byNetwork index[model.NetworkID, model.FloatingIP]
	byAddr    index[netip.Addr, model.FloatingIP]
}

func newFloatingTable(e *epoch) floatingTable {
	meta := func(f *model.FloatingIP) *model.Meta { return &f.Meta }
	return floatingTable{
		table:     newTable(e, byUUID[model.FloatingIPID], uuidKind("floating_ip", func(f *model.FloatingIP) model.FloatingIPID { return f.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byRouter: newIndex(e, byUUID[model.RouterID], func(f *model.FloatingIP, to []model.RouterID) []model.RouterID {
			if !f.RouterID.IsZero() {
				to = append(to, f.RouterID)
			}
			return to
		}),
		byPort: newIndex(e, byUUID[model.PortID], func(f *model.FloatingIP, to []model.PortID) []model.PortID {
			if !f.PortID.IsZero() {
				to = append(to, f.PortID)
			}
			return to
		}),
		byNetwork: newIndex(e, byUUID[model.NetworkID], func(f *model.FloatingIP, to []model.NetworkID) []model.NetworkID {
			return append(to, f.NetworkID)
		}),
		byAddr: newIndex(e, byAddr, func(f *model.FloatingIP, to []netip.Addr) []netip.Addr { return append(to, f.Addr) }),
	}
}

func (t *floatingTable) indexes() []indexer[model.FloatingIP] {
	return []indexer[model.FloatingIP]{&t.rows, &t.byProject, &t.byRouter, &t.byPort, &t.byNetwork, &t.byAddr}
}

// FloatingIP returns a floating IP, nil when there is none of that id.
func (r Reader) FloatingIP(id model.FloatingIPID) *model.FloatingIP {
	return object(r.FloatingIPRow(id))
}

// FloatingIPRow returns the row of a floating IP, nil when there is none of that id.
func (r Reader) FloatingIPRow(id model.FloatingIPID) *Row[model.FloatingIP] {
	return r.t.floating.get(id)
}

// FloatingIPRows yields the rows of all floating IPs.
func (r Reader) FloatingIPRows() iter.Seq[*Row[model.FloatingIP]] { return r.t.floating.rows.every() }

// FloatingIPRowsByProject yields the rows of the floating IPs that a project owns.
func (r Reader) FloatingIPRowsByProject(project string) iter.Seq[*Row[model.FloatingIP]] {
	return r.t.floating.byProject.all(project)
}

// FloatingIPsByRouter yields the floating IPs that a router serves.
func (r Reader) FloatingIPsByRouter(id model.RouterID) iter.Seq[*model.FloatingIP] {
	return objects(r.t.floating.byRouter.all(id))
}

// FloatingIPsByPort yields the floating IPs that are associated with a port.
func (r Reader) FloatingIPsByPort(id model.PortID) iter.Seq[*model.FloatingIP] {
	return objects(r.t.floating.byPort.all(id))
}

// FloatingIPsByNetwork yields the floating IPs of an external network.
func (r Reader) FloatingIPsByNetwork(id model.NetworkID) iter.Seq[*model.FloatingIP] {
	return objects(r.t.floating.byNetwork.all(id))
}

// FloatingIPsByAddr yields the floating IPs of an address, of any network.
func (r Reader) FloatingIPsByAddr(addr netip.Addr) iter.Seq[*model.FloatingIP] {
	return objects(r.t.floating.byAddr.all(addr))
}

// FloatingIPCount tells how many floating IPs a project owns.
func (r Reader) FloatingIPCount(project string) int { return r.t.floating.byProject.count(project) }

// PutFloatingIP inserts a floating IP, or replaces the one of the same id. The transaction owns
// it from now on.
func (tx *Tx) PutFloatingIP(f *model.FloatingIP) { tx.record(put(&tx.t.floating, f)) }

// DeleteFloatingIP deletes a floating IP; deleting what is absent does nothing. Its forwardings
// are rows of their own.
func (tx *Tx) DeleteFloatingIP(id model.FloatingIPID) { tx.record(drop(&tx.t.floating, id)) }

type forwardingTable struct {
	table[model.PortForwardingID, model.PortForwarding]
	byFloating index[model.FloatingIPID, model.PortForwarding]
	byPort     index[model.PortID, model.PortForwarding]
}

func newForwardingTable(e *epoch) forwardingTable {
	return forwardingTable{
		table: newTable(e, byUUID[model.PortForwardingID], uuidKind("port_forwarding",
			func(f *model.PortForwarding) model.PortForwardingID { return f.ID })),
		byFloating: newIndex(e, byUUID[model.FloatingIPID], func(f *model.PortForwarding, to []model.FloatingIPID) []model.FloatingIPID {
			return append(to, f.FloatingIPID)
		}),
		byPort: newIndex(e, byUUID[model.PortID], func(f *model.PortForwarding, to []model.PortID) []model.PortID {
			return append(to, f.PortID)
		}),
	}
}

func (t *forwardingTable) indexes() []indexer[model.PortForwarding] {
	return []indexer[model.PortForwarding]{&t.rows, &t.byFloating, &t.byPort}
}

// PortForwarding returns a port forwarding, nil when there is none of that id.
func (r Reader) PortForwarding(id model.PortForwardingID) *model.PortForwarding {
	return object(r.PortForwardingRow(id))
}

// PortForwardingRow returns the row of a port forwarding, nil when there is none of that id.
func (r Reader) PortForwardingRow(id model.PortForwardingID) *Row[model.PortForwarding] {
	return r.t.forwardings.get(id)
}

// PortForwardingRowsByFloatingIP yields the rows of the forwardings of a floating IP.
func (r Reader) PortForwardingRowsByFloatingIP(id model.FloatingIPID) iter.Seq[*Row[model.PortForwarding]] {
	return r.t.forwardings.byFloating.all(id)
}

// PortForwardingsByFloatingIP yields the forwardings of a floating IP.
func (r Reader) PortForwardingsByFloatingIP(id model.FloatingIPID) iter.Seq[*model.PortForwarding] {
	return objects(r.PortForwardingRowsByFloatingIP(id))
}

// PortForwardingsByPort yields the forwardings that lead to a port.
func (r Reader) PortForwardingsByPort(id model.PortID) iter.Seq[*model.PortForwarding] {
	return objects(r.t.forwardings.byPort.all(id))
}

// PutPortForwarding inserts a port forwarding, or replaces the one of the same id. The
// transaction owns it from now on.
func (tx *Tx) PutPortForwarding(f *model.PortForwarding) { tx.record(put(&tx.t.forwardings, f)) }

// DeletePortForwarding deletes a port forwarding; deleting what is absent does nothing.
func (tx *Tx) DeletePortForwarding(id model.PortForwardingID) {
	tx.record(drop(&tx.t.forwardings, id))
}
