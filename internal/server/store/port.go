package store

import (
	"iter"
	"net/netip"
	"strings"

	"weft/internal/model"
)

type portTable struct {
	table[model.PortID, model.Port]
	byProject index[string, model.Port]
	byName    index[string, model.Port]
	byNetwork index[model.NetworkID, model.Port]
	byHost    index[string, model.Port]
	byDevice  index[string, model.Port]
	byGroup   index[model.SecurityGroupID, model.Port]
	byMAC     index[macKey, model.Port]
	bySubnet  index[addrKey, model.Port]
	byAddr    index[netip.Addr, model.Port]
	byLeg     index[model.NetworkID, model.Port] // of routers' ports only
}

type macKey struct {
	network model.NetworkID
	mac     model.MAC
}

func (k macKey) text() string { return byUUID(k.network) + string(k.mac[:]) }

type addrKey struct {
	subnet model.SubnetID
	addr   netip.Addr
}

func (k addrKey) text() string { return byUUID(k.subnet) + byAddr(k.addr) }

func newPortTable(e *epoch) portTable {
	meta := func(p *model.Port) *model.Meta { return &p.Meta }
	network := func(p *model.Port, to []model.NetworkID) []model.NetworkID { return append(to, p.NetworkID) }
	return portTable{
		table: newTable(e, byUUID[model.PortID], uuidKind("port",
			func(p *model.Port) model.PortID { return p.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, unlessEmpty(func(p *model.Port) string { return p.Name })),
		byNetwork: newIndex(e, byUUID[model.NetworkID], network),
		byHost:    newIndex(e, byText, unlessEmpty(func(p *model.Port) string { return p.Binding.HostID })),
		byDevice:  newIndex(e, byText, unlessEmpty(func(p *model.Port) string { return p.DeviceID })),
		byGroup: newIndex(e, byUUID[model.SecurityGroupID], func(p *model.Port, to []model.SecurityGroupID) []model.SecurityGroupID {
			return append(to, p.SecurityGroups...)
		}),
		byMAC: newIndex(e, macKey.text, func(p *model.Port, to []macKey) []macKey { return append(to, macKey{p.NetworkID, p.MAC}) }),
		bySubnet: newIndex(e, addrKey.text, func(p *model.Port, to []addrKey) []addrKey {
			for _, ip := range p.FixedIPs {
				to = append(to, addrKey{ip.SubnetID, ip.Addr})
			}
			return to
		}),
		byAddr: newIndex(e, byAddr, func(p *model.Port, to []netip.Addr) []netip.Addr {
			for _, ip := range p.FixedIPs {
				to = append(to, ip.Addr)
			}
			return to
		}),
		byLeg: newIndex(e, byUUID[model.NetworkID], func(p *model.Port, to []model.NetworkID) []model.NetworkID {
			if p.IsRouterPort() {
				to = append(to, p.NetworkID)
			}
			return to
		}),
	}
}

func (t *portTable) indexes() []indexer[model.Port] {
	return []indexer[model.Port]{
		&t.rows, &t.byProject, &t.byName, &t.byNetwork, &t.byHost, &t.byDevice, &t.byGroup, &t.byMAC, &t.bySubnet, &t.byAddr, &t.byLeg,
	}
}

// Port returns a port, nil when there is none of that id.
func (r Reader) Port(id model.PortID) *model.Port { return object(r.PortRow(id)) }

// PortRow returns the row of a port, nil when there is none of that id.
func (r Reader) PortRow(id model.PortID) *Row[model.Port] { return r.t.ports.get(id) }

// Ports yields all ports.
func (r Reader) Ports() iter.Seq[*model.Port] { return objects(r.PortRows()) }

// PortRows yields the rows of all ports.
func (r Reader) PortRows() iter.Seq[*Row[model.Port]] { return r.t.ports.rows.every() }

// PortsByProject yields the ports that a project owns.
func (r Reader) PortsByProject(project string) iter.Seq[*model.Port] {
	return objects(r.PortRowsByProject(project))
}

// PortRowsByProject yields the rows of the ports that a project owns.
func (r Reader) PortRowsByProject(project string) iter.Seq[*Row[model.Port]] {
	return r.t.ports.byProject.all(project)
}

// PortsByNetwork yields the ports on a network.
func (r Reader) PortsByNetwork(id model.NetworkID) iter.Seq[*model.Port] {
	return objects(r.PortRowsByNetwork(id))
}

// PortRowsByNetwork yields the rows of the ports on a network.
func (r Reader) PortRowsByNetwork(id model.NetworkID) iter.Seq[*Row[model.Port]] {
	return r.t.ports.byNetwork.all(id)
}

// RouterPortsByNetwork yields the ports that routers have on a network.
func (r Reader) RouterPortsByNetwork(id model.NetworkID) iter.Seq[*model.Port] {
	return objects(r.t.ports.byLeg.all(id))
}

// PortsByHost yields the ports that are bound to a host, none for the empty name.
func (r Reader) PortsByHost(host string) iter.Seq[*model.Port] {
	return objects(r.PortRowsByHost(host))
}

// PortRowsByHost yields the rows of the ports that are bound to a host, none for the empty name.
func (r Reader) PortRowsByHost(host string) iter.Seq[*Row[model.Port]] {
	return r.t.ports.byHost.all(host)
}

// PortsByDevice yields the ports of a device, which is a server or a router; none
// for the empty id.
func (r Reader) PortsByDevice(device string) iter.Seq[*model.Port] {
	return objects(r.PortRowsByDevice(device))
}

// PortRowsByDevice yields the rows of the ports of a device, none for the empty id.
func (r Reader) PortRowsByDevice(device string) iter.Seq[*Row[model.Port]] {
	return r.t.ports.byDevice.all(device)
}

// PortsBySecurityGroup yields the ports that are in a security group.
func (r Reader) PortsBySecurityGroup(id model.SecurityGroupID) iter.Seq[*model.Port] {
	return objects(r.t.ports.byGroup.all(id))
}

// PortsByName yields the ports of a name, of any project; none for the empty name.
func (r Reader) PortsByName(name string) iter.Seq[*model.Port] {
	return objects(r.t.ports.byName.all(name))
}

// PortByMAC returns the port with a hardware address on a network, nil when it
// is free there.
func (r Reader) PortByMAC(network model.NetworkID, mac model.MAC) *model.Port {
	return object(r.t.ports.byMAC.first(macKey{network, mac}))
}

// PortByAddr returns the port with a fixed address on a subnet, nil when it is
// free there.
func (r Reader) PortByAddr(subnet model.SubnetID, addr netip.Addr) *model.Port {
	return object(r.t.ports.bySubnet.first(addrKey{subnet, addr}))
}

// PortsByAddr yields the ports with a fixed address, on any subnet.
func (r Reader) PortsByAddr(addr netip.Addr) iter.Seq[*model.Port] {
	return objects(r.t.ports.byAddr.all(addr))
}

// AddrsInSubnet yields the fixed addresses on a subnet in ascending order, from
// the given one on (the zero Addr: from the first), each with its port.
func (r Reader) AddrsInSubnet(subnet model.SubnetID, from netip.Addr) iter.Seq2[netip.Addr, *model.Port] {
	return func(yield func(netip.Addr, *model.Port) bool) {
		for k, row := range r.t.ports.bySubnet.from(addrKey{subnet, from}.text()) {
			addr, ok := strings.CutPrefix(k, byUUID(subnet))
			if !ok || !yield(addrOf(addr), row.Obj) {
				return
			}
		}
	}
}

// PortCount tells how many ports a project owns.
func (r Reader) PortCount(project string) int { return r.t.ports.byProject.count(project) }

// PortCountByNetwork tells how many ports are on a network.
func (r Reader) PortCountByNetwork(id model.NetworkID) int { return r.t.ports.byNetwork.count(id) }

// PortCountBySubnet tells how many fixed addresses of a subnet are in use: a
// port that has two of them counts twice.
func (r Reader) PortCountBySubnet(id model.SubnetID) int {
	subnet := byUUID(id)
	return r.t.ports.bySubnet.between(subnet, subnet+"\xff") // no address begins so, see byAddr
}

// PutPort inserts a port, or replaces the one of the same id. The transaction
// owns it from now on.
func (tx *Tx) PutPort(p *model.Port) { tx.record(put(&tx.t.ports, p)) }

// DeletePort deletes a port; deleting what is absent does nothing. Its report
// is a row of its own.
func (tx *Tx) DeletePort(id model.PortID) { tx.record(drop(&tx.t.ports, id)) }

type reportTable struct {
	table[model.PortID, model.PortReport]
}

func newReportTable(e *epoch) reportTable {
	return reportTable{newTable(e, byUUID[model.PortID], uuidKind("port_report",
		func(p *model.PortReport) model.PortID { return p.PortID }))}
}

func (t *reportTable) indexes() []indexer[model.PortReport] {
	return []indexer[model.PortReport]{&t.rows}
}

// PortReport returns the last report about a port, nil when there is none.
func (r Reader) PortReport(id model.PortID) *model.PortReport { return object(r.t.reports.get(id)) }

// PortReports yields the last report about each port that has one.
func (r Reader) PortReports() iter.Seq[*model.PortReport] { return objects(r.t.reports.rows.every()) }

// PutPortReport inserts a report, or replaces the last one about the port. The
// transaction owns it from now on.
func (tx *Tx) PutPortReport(p *model.PortReport) { tx.record(put(&tx.t.reports, p)) }

// DeletePortReport deletes the report about a port; deleting what is absent
// does nothing.
func (tx *Tx) DeletePortReport(id model.PortID) { tx.record(drop(&tx.t.reports, id)) }

// UsedAddrs answers what package ipam asks about the fixed addresses of one
// subnet.
type UsedAddrs struct {
	reader Reader
	subnet model.SubnetID
}

// UsedAddrs returns the fixed addresses of a subnet, for ipam.Pick.
func (r Reader) UsedAddrs(subnet model.SubnetID) UsedAddrs { return UsedAddrs{r, subnet} }

// Has reports whether a port has the address.
func (u UsedAddrs) Has(addr netip.Addr) bool { return u.reader.PortByAddr(u.subnet, addr) != nil }

// From yields the addresses in ascending order, beginning with the first that
// is not below the given one.
func (u UsedAddrs) From(addr netip.Addr) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for a := range u.reader.AddrsInSubnet(u.subnet, addr) {
			if !yield(a) {
				return
			}
		}
	}
}
