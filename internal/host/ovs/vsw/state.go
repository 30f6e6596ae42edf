package vsw

import (
	"slices"

	"weft/internal/host/ovs/ovsdb"
)

// Root is the one row of table Open_vSwitch.
type Root struct {
	UUID          ovsdb.UUID
	ExternalIDs   map[string]string
	NextCfg       int64 // raised by whoever changes the configuration
	CurCfg        int64 // the NextCfg that ovs-vswitchd has carried out
	OVSVersion    string
	DatapathTypes []string // what ovs-vswitchd was built with: "system" is here without the kernel module, too
	IfaceTypes    []string
}

// Bridge is a row of table Bridge. Absent optional values are "".
type Bridge struct {
	UUID         ovsdb.UUID
	Name         string
	FailMode     string // secure, standalone
	DatapathType string // system ("" is the same), netdev
	DatapathID   string // 16 hex digits, once ovs-vswitchd has made the bridge
	Protocols    []string
	ExternalIDs  map[string]string
	OtherConfig  map[string]string
	Ports        []string // names, sorted; the bridge's own is among them
}

// Port is a row of table Port.
type Port struct {
	UUID        ovsdb.UUID
	Name        string
	Bridge      string
	Tag         *int   // nil: none
	VLANMode    string // access, trunk, native-tagged, native-untagged, dot1q-tunnel, "" for the default
	Trunks      []int
	ExternalIDs map[string]string
	OtherConfig map[string]string
	Interfaces  []string // names, sorted: one, unless it is a bond
}

// Interface is a row of table Interface.
type Interface struct {
	UUID        ovsdb.UUID
	Name        string
	Type        string // "" or "system" is a device of the host; internal, patch, gre, vxlan, geneve, …
	OFPort      int    // OpenFlow number; 0: not given yet, -1: the switch could not make it, see Error
	Error       string
	MAC         string // asked for
	MACInUse    string
	AdminState  string // up, down, "" not known
	LinkState   string
	MTU         int // bytes, 0: not known
	MTURequest  int // bytes, 0: none
	Options     map[string]string
	ExternalIDs map[string]string
	OtherConfig map[string]string
	Statistics  map[string]int64
	BFD         map[string]string // asked for (ovs-vswitchd.conf.db(5), bfd)
	BFDStatus   map[string]string // empty: none
}

// State is the configuration and state of the switch after one transaction. It is
// immutable; do not change what it returns.
type State struct {
	// Epoch counts the connections to the database, 0: none yet. After a new one the reader has missed an unknown number of states.
	Epoch uint64
	// Connected is false while the database is out of reach; the rest is then the last that was known.
	Connected bool
	Root      Root

	bridges    map[string]*Bridge
	ports      map[string]*Port
	interfaces map[string]*Interface
}

// NewState returns a state of the given rows, as if it came from a first connection:
// for those who compute from states, and their tests.
func NewState(root Root, bridges []Bridge, ports []Port, interfaces []Interface) *State {
	s := &State{Epoch: 1, Connected: true, Root: root, bridges: make(map[string]*Bridge),
		ports: make(map[string]*Port), interfaces: make(map[string]*Interface)}
	for _, b := range bridges {
		s.bridges[b.Name] = &b
	}
	for _, p := range ports {
		s.ports[p.Name] = &p
	}
	for _, i := range interfaces {
		s.interfaces[i.Name] = &i
	}
	return s
}

// Bridge returns the bridge called name, or nil.
func (s *State) Bridge(name string) *Bridge { return s.bridges[name] }

// Port returns the port called name, or nil. Names are unique in the whole switch.
func (s *State) Port(name string) *Port { return s.ports[name] }

// Interface returns the interface called name, or nil. A port that is no bond has an interface of its own name.
func (s *State) Interface(name string) *Interface { return s.interfaces[name] }

// Bridges returns the names of all bridges, sorted.
func (s *State) Bridges() []string { return sortedKeys(s.bridges) }

// Ports returns the names of all ports, sorted.
func (s *State) Ports() []string { return sortedKeys(s.ports) }

// Interfaces returns the names of all interfaces, sorted.
func (s *State) Interfaces() []string { return sortedKeys(s.interfaces) }

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// monitors are the columns that State is made of.
var monitors = []ovsdb.Monitor{
	{Table: "Open_vSwitch", Columns: []string{"external_ids", "next_cfg", "cur_cfg", "ovs_version", "datapath_types", "iface_types"}},
	{Table: "Bridge", Columns: []string{"name", "fail_mode", "datapath_type", "datapath_id", "protocols", "external_ids", "other_config", "ports"}},
	{Table: "Port", Columns: []string{"name", "tag", "vlan_mode", "trunks", "external_ids", "other_config", "interfaces"}},
	{Table: "Interface", Columns: []string{"name", "type", "ofport", "error", "mac", "mac_in_use", "admin_state", "link_state", "mtu", "mtu_request",
		"options", "external_ids", "other_config", "bfd", "bfd_status"}, Quiet: []string{"statistics"}},
}

// typedRows keeps the typed form of rows between two states. Rows never change, so
// what was made of a row that is still there is still right.
type typedRows struct {
	bridges    map[*ovsdb.Row]*Bridge
	ports      map[*ovsdb.Row]*Port
	interfaces map[*ovsdb.Row]*Interface
}

// next returns the state in snap, and the typed rows it is made of; of those in t
// it takes what is unchanged.
func (t typedRows) next(snap *ovsdb.Snapshot) (*State, typedRows) {
	s := &State{
		Epoch: snap.Epoch, Connected: snap.Connected,
		bridges:    make(map[string]*Bridge, snap.Len("Bridge")),
		ports:      make(map[string]*Port, snap.Len("Port")),
		interfaces: make(map[string]*Interface, snap.Len("Interface")),
	}
	n := typedRows{
		bridges:    make(map[*ovsdb.Row]*Bridge, snap.Len("Bridge")),
		ports:      make(map[*ovsdb.Row]*Port, snap.Len("Port")),
		interfaces: make(map[*ovsdb.Row]*Interface, snap.Len("Interface")),
	}
	for row := range snap.Rows("Open_vSwitch") {
		s.Root = rootOf(row)
	}
	for row := range snap.Rows("Interface") {
		i := reuse(t.interfaces, n.interfaces, row, interfaceOf)
		s.interfaces[i.Name] = i
	}
	bridgeOf := make(map[ovsdb.UUID]string, snap.Len("Port"))
	for row := range snap.Rows("Bridge") {
		// A name never changes, and a bridge's row changes with its set of ports: the names in an unchanged row are right.
		b := reuse(t.bridges, n.bridges, row, func(r *ovsdb.Row) *Bridge { return makeBridge(r, snap) })
		s.bridges[b.Name] = b
		for _, u := range row.Get("ports").Refs() {
			bridgeOf[u] = b.Name
		}
	}
	for row := range snap.Rows("Port") {
		p := reuse(t.ports, n.ports, row, func(r *ovsdb.Row) *Port { return makePort(r, snap) })
		if bridge := bridgeOf[row.UUID()]; p.Bridge != bridge { // new, or moved without a change of its own row
			moved := *p
			moved.Bridge = bridge
			p = &moved
			n.ports[row] = p
		}
		s.ports[p.Name] = p
	}
	return s, n
}

func reuse[T any](old, now map[*ovsdb.Row]*T, row *ovsdb.Row, build func(*ovsdb.Row) *T) *T {
	v := old[row]
	if v == nil {
		v = build(row)
	}
	now[row] = v
	return v
}

func rootOf(row *ovsdb.Row) Root {
	return Root{
		UUID:          row.UUID(),
		ExternalIDs:   row.Get("external_ids").StrMap(),
		NextCfg:       integer(row, "next_cfg"),
		CurCfg:        integer(row, "cur_cfg"),
		OVSVersion:    row.Get("ovs_version").Str(),
		DatapathTypes: row.Get("datapath_types").Strs(),
		IfaceTypes:    row.Get("iface_types").Strs(),
	}
}

func makeBridge(row *ovsdb.Row, snap *ovsdb.Snapshot) *Bridge {
	return &Bridge{
		UUID:         row.UUID(),
		Name:         row.Get("name").Str(),
		FailMode:     row.Get("fail_mode").Str(),
		DatapathType: row.Get("datapath_type").Str(),
		DatapathID:   row.Get("datapath_id").Str(),
		Protocols:    row.Get("protocols").Strs(),
		ExternalIDs:  row.Get("external_ids").StrMap(),
		OtherConfig:  row.Get("other_config").StrMap(),
		Ports:        names(snap, "Port", row.Get("ports").Refs()),
	}
}

func makePort(row *ovsdb.Row, snap *ovsdb.Snapshot) *Port {
	p := &Port{
		UUID:        row.UUID(),
		Name:        row.Get("name").Str(),
		VLANMode:    row.Get("vlan_mode").Str(),
		Trunks:      row.Get("trunks").Ints(),
		ExternalIDs: row.Get("external_ids").StrMap(),
		OtherConfig: row.Get("other_config").StrMap(),
		Interfaces:  names(snap, "Interface", row.Get("interfaces").Refs()),
	}
	if tag, ok := row.Get("tag").Int(); ok {
		n := int(tag)
		p.Tag = &n
	}
	return p
}

func interfaceOf(row *ovsdb.Row) *Interface {
	return &Interface{
		UUID:        row.UUID(),
		Name:        row.Get("name").Str(),
		Type:        row.Get("type").Str(),
		OFPort:      int(integer(row, "ofport")),
		Error:       row.Get("error").Str(),
		MAC:         row.Get("mac").Str(),
		MACInUse:    row.Get("mac_in_use").Str(),
		AdminState:  row.Get("admin_state").Str(),
		LinkState:   row.Get("link_state").Str(),
		MTU:         int(integer(row, "mtu")),
		MTURequest:  int(integer(row, "mtu_request")),
		Options:     row.Get("options").StrMap(),
		ExternalIDs: row.Get("external_ids").StrMap(),
		OtherConfig: row.Get("other_config").StrMap(),
		Statistics:  row.Get("statistics").IntMap(),
		BFD:         row.Get("bfd").StrMap(),
		BFDStatus:   row.Get("bfd_status").StrMap(),
	}
}

func integer(row *ovsdb.Row, column string) int64 {
	n, _ := row.Get(column).Int()
	return n
}

func names(snap *ovsdb.Snapshot, table string, refs []ovsdb.UUID) []string {
	var out []string
	for _, u := range refs {
		if row := snap.Row(table, u); row != nil {
			out = append(out, row.Get("name").Str())
		}
	}
	slices.Sort(out)
	return out
}
