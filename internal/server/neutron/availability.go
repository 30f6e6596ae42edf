package neutron

import (
	"iter"
	"math/big"

	"weft/internal/model"
	"weft/internal/server/policy"
	"weft/internal/server/store"
)

// availabilityResource declares network-ip-availabilities: per network, how many
// addresses there are to give out, and how many are in use. For admins.
func availabilityResource() *resource[model.Network, struct{}] {
	type (
		M    = model.Network
		attr = attribute[M, struct{}]
	)
	var d declare[M, struct{}]
	r := &resource[M, struct{}]{
		name: "network_ip_availability", collection: "network_ip_availabilities", path: "network-ip-availabilities",
		fresh: true, adminOnly: true,
		id:      func(n *M) model.UUID { return n.ID.UUID },
		target:  func(_ *view, n *M) policy.Target { return policy.NetworkTarget(n) },
		missing: notFound("NetworkNotFound", "Network %s could not be found."),
		row:     func(v *view, id model.UUID) *store.Row[M] { return v.NetworkRow(model.NetworkID{UUID: id}) },
		rows:    func(v *view) iter.Seq[*store.Row[M]] { return v.NetworkRows() },
	}
	project := func(n *M) string { return n.ProjectID }
	r.attributes = []attr{
		d.id("network_id", func(n *M) model.UUID { return n.ID.UUID }).by(byID(r.row)),
		d.str("network_name", func(n *M) string { return n.Name }, nil, nil),
		d.str("project_id", project, nil, nil),
		d.str("tenant_id", project, nil, nil),
		d.other("subnet_ip_availability", func(b []byte, v *view, n *M) []byte {
			b = append(b, '[')
			sep := false
			for s := range v.SubnetsByNetwork(n.ID) {
				if sep {
					b = append(b, ',')
				}
				b, sep = appendAvailability(b, v, s), true
			}
			return append(b, ']')
		}),
		d.other("total_ips", func(b []byte, v *view, n *M) []byte {
			total := new(big.Int)
			for s := range v.SubnetsByNetwork(n.ID) {
				total.Add(total, poolSize(s))
			}
			return total.Append(b, 10)
		}),
		d.other("used_ips", func(b []byte, v *view, n *M) []byte {
			used := 0
			for s := range v.SubnetsByNetwork(n.ID) {
				used += v.PortCountBySubnet(s.ID)
			}
			return appendInt(b, int64(used))
		}),
		{
			name: "ip_version",
			match: func(v *view, values []string) (func(*M) bool, error) {
				keep, err := matchInt(func(s *model.Subnet) int64 { return int64(s.IPVersion()) })(v, values)
				return func(n *M) bool {
					for s := range v.SubnetsByNetwork(n.ID) {
						if keep(s) {
							return true
						}
					}
					return false
				}, err
			},
		},
	}
	return r
}

func appendAvailability(b []byte, v *view, s *model.Subnet) []byte {
	b = append(b, `{"subnet_id":`...)
	b = appendUUID(b, s.ID.UUID)
	b = append(b, `,"subnet_name":`...)
	b = appendString(b, s.Name)
	b = append(b, `,"cidr":`...)
	b = appendPrefix(b, s.CIDR)
	b = append(b, `,"ip_version":`...)
	b = appendInt(b, int64(s.IPVersion()))
	b = append(b, `,"total_ips":`...)
	b = poolSize(s).Append(b, 10)
	b = append(b, `,"used_ips":`...)
	b = appendInt(b, int64(v.PortCountBySubnet(s.ID)))
	return append(b, '}')
}

// poolSize is the number of addresses in a subnet's pools; of IPv6 there are
// more than 64 bits count.
func poolSize(s *model.Subnet) *big.Int {
	total := new(big.Int)
	for _, p := range s.Pools {
		n := new(big.Int).SetBytes(p.Last.AsSlice())
		n.Sub(n, new(big.Int).SetBytes(p.First.AsSlice()))
		total.Add(total, n.Add(n, big.NewInt(1)))
	}
	return total
}
