package vsw

// Desired is what a caller wants of the switch. Wherever a field says "not named"
// for its zero value, that column is left as it is.
type Desired struct {
	// ExternalIDs are set on the Open_vSwitch row; keys not named here stay.
	ExternalIDs map[string]string
	Bridges     []DesiredBridge
	Ports       []DesiredPort
}

// DesiredBridge is a bridge that must be there. Bridges are never deleted by a plan.
type DesiredBridge struct {
	Name         string
	FailMode     string            // "": not named
	DatapathType string            // "": not named
	Protocols    []string          // nil: not named
	ExternalIDs  map[string]string // set; keys not named here stay
	OtherConfig  map[string]string // set; keys not named here stay
}

// DesiredPort is a port that must be on Bridge if the caller owns it, and must look
// like this if it is there. Of a port that the caller does not own, Type and Options
// are ignored.
type DesiredPort struct {
	Bridge   string
	Name     string
	Tag      *int   // 0 to 4095; nil: not named; NoTag: none
	VLANMode string // "": not named; Default: the default
	Trunks   []int  // nil: not named; empty: none
	// OtherConfig is other_config of the Port row, where Neutron's agent keeps tag
	// and network of a port over a restart. Set; keys not named here stay.
	OtherConfig map[string]string

	Type    string            // of the interface; "": a device of the host
	Options map[string]string // of the interface, as a whole; nil: not named
	MAC     string            // "": not named
	// BFD is how the switch watches a tunnel (ovs-vswitchd.conf.db(5), bfd), as a whole; empty: not at all.
	BFD map[string]string
	// MTURequest is in bytes, 0: not named.
	MTURequest int
	// ExternalIDs is external_ids of the Interface row, where os-vif writes and
	// Neutron's agent reads iface-id, attached-mac and iface-status. Set; keys not named here stay.
	ExternalIDs map[string]string
}

// Default, as a VLANMode, clears the column.
const Default = "default"

// NoTag returns the Tag that clears the column.
func NoTag() *int { n := noTag; return &n }

const noTag = -1

// Tag returns a pointer to n, for DesiredPort.Tag.
func Tag(n int) *int { return &n }
