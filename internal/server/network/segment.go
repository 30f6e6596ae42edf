package network

import (
	"encoding/binary"
	"slices"

	"weft/internal/fault"
	"weft/internal/model"
	"weft/internal/server/store"
)

// segmentsFor makes the segments of a new network: those asked for, or one of
// the first tenant type that has an id left.
func (r *Rules) segmentsFor(tx *store.Tx, env Env, spec *NetworkSpec) ([]model.Segment, error) {
	single := SegmentSpec{spec.NetworkType, spec.PhysicalNetwork, spec.SegmentationID}
	list, many := spec.Segments.Get()
	if single.given() {
		if many {
			return nil, fault.New(fault.Invalid, "SegmentsSetInConjunctionWithProviders",
				"Segments and provider values cannot both be set.")
		}
		list, many = []SegmentSpec{single}, true
	}
	if !many || len(list) == 0 {
		s, err := r.tenantSegment(tx, env)
		if err != nil {
			return nil, err
		}
		return []model.Segment{s}, nil
	}
	if len(list) > maxSegments {
		return nil, badInput("a network cannot have more than %d segments", maxSegments)
	}
	var segments []model.Segment
	for _, want := range list {
		s, err := r.providerSegment(want)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(segments, func(o model.Segment) bool {
			return o.Type == s.Type && o.Physical == s.Physical && o.Tag == s.Tag && (s.Tag != 0 || s.Type == model.TypeFlat)
		}) {
			return nil, fault.New(fault.Invalid, "SegmentsContainDuplicateEntry", "Duplicate segment entry in request.")
		}
		segments = append(segments, s)
	}
	for i := range segments {
		if err := r.claimSegment(tx, env, &segments[i], segments[:i]); err != nil {
			return nil, err
		}
		segments[i].ID = model.SegmentID{UUID: env.uuid()}
	}
	return segments, nil
}

// maxSegments bounds one network's segments.
const maxSegments = 16

func (s SegmentSpec) given() bool {
	_, t := s.NetworkType.Get()
	_, p := s.PhysicalNetwork.Get()
	_, n := s.SegmentationID.Get()
	return t || p || n
}

// tenantSegment takes the first free id of the first tenant type that has one.
func (r *Rules) tenantSegment(tx *store.Tx, env Env) (model.Segment, error) {
	for _, t := range r.TenantTypes {
		s := model.Segment{Type: t}
		if err := r.claimSegment(tx, env, &s, nil); err == nil {
			s.ID = model.SegmentID{UUID: env.uuid()}
			return s, nil
		}
	}
	return model.Segment{}, noNetworkAvailable()
}

func noNetworkAvailable() *fault.Error {
	return fault.New(fault.Conflict, "NoNetworkAvailable",
		"Unable to create the network. No tenant network is available for allocation.")
}

// providerSegment checks what an admin asked for, by itself. A tag of 0 is to
// be chosen.
func (r *Rules) providerSegment(want SegmentSpec) (model.Segment, error) {
	t, ok := want.NetworkType.Get()
	if !ok || t == "" {
		return model.Segment{}, badInput("network_type required")
	}
	s := model.Segment{Type: model.NetworkType(t), Physical: want.PhysicalNetwork.Or("")}
	tag, hasTag := want.SegmentationID.Get()
	switch s.Type {
	case model.TypeLocal:
		if s.Physical != "" {
			return s, badInput("physical_network prohibited for local provider network")
		}
		if hasTag {
			return s, badInput("segmentation_id prohibited for local provider network")
		}
	case model.TypeFlat:
		if s.Physical == "" {
			return s, badInput("physical_network required for flat provider network")
		}
		if !slices.Contains(r.FlatNetworks, "*") && !slices.Contains(r.FlatNetworks, s.Physical) {
			return s, badInput("physical_network '%s' unknown for flat provider network", s.Physical)
		}
		if hasTag {
			return s, badInput("segmentation_id prohibited for flat provider network")
		}
	case model.TypeVLAN:
		if s.Physical == "" {
			if hasTag {
				return s, badInput("segmentation_id requires physical_network for VLAN provider network")
			}
		} else if _, known := r.VLANRanges[s.Physical]; !known {
			return s, badInput("physical_network '%s' unknown for VLAN provider network", s.Physical)
		}
	case model.TypeGRE, model.TypeVXLAN, model.TypeGeneve:
		if len(r.TunnelRanges[s.Type]) == 0 {
			return s, badInput("network_type value '%s' not supported", t)
		}
		if s.Physical != "" {
			return s, badInput("provider:physical_network specified for %s network", t)
		}
	default:
		return s, badInput("network_type value '%s' not supported", t)
	}
	if len(s.Physical) > 64 || hasControl(s.Physical) {
		return s, badInput("physical_network '%s' is not a name", s.Physical)
	}
	if hasTag {
		if tag < 1 || int64(tag) > int64(maxTag(s.Type)) {
			return s, badInput("segmentation_id out of range (1 through %d)", maxTag(s.Type))
		}
		s.Tag = uint32(tag)
	}
	return s, nil
}

// claimSegment checks that an explicit id is free, or picks one. taken are the
// segments of the same request.
func (r *Rules) claimSegment(tx *store.Tx, env Env, s *model.Segment, taken []model.Segment) error {
	free := func(physical string, tag uint32) bool {
		return tx.NetworkByTag(s.Type, physical, tag) == nil &&
			!slices.ContainsFunc(taken, func(o model.Segment) bool {
				return o.Type == s.Type && o.Physical == physical && o.Tag == tag
			})
	}
	switch {
	case s.Type == model.TypeLocal:
		return nil
	case s.Type == model.TypeFlat:
		if !free(s.Physical, 0) {
			return fault.New(fault.Conflict, "FlatNetworkInUse",
				"Unable to create the flat network. Physical network %s is in use.", s.Physical)
		}
		return nil
	case s.Tag != 0:
		if free(s.Physical, s.Tag) {
			return nil
		}
		if s.Type == model.TypeVLAN {
			return fault.New(fault.Conflict, "VlanIdInUse",
				"Unable to create the network. The VLAN %d on physical network %s is in use.", s.Tag, s.Physical)
		}
		return fault.New(fault.Conflict, "TunnelIdInUse",
			"Unable to create the network. The tunnel ID %d is in use.", s.Tag)
	case s.Type == model.TypeVLAN:
		for _, physical := range r.physicals(s.Physical) {
			if tag, ok := pickTag(r.VLANRanges[physical], env, func(t uint32) bool { return free(physical, t) }); ok {
				s.Physical, s.Tag = physical, tag
				return nil
			}
		}
	default:
		if tag, ok := pickTag(r.TunnelRanges[s.Type], env, func(t uint32) bool { return free("", t) }); ok {
			s.Tag = tag
			return nil
		}
	}
	return noNetworkAvailable()
}

// physicals are the physical networks to look for a VLAN id on, in order.
func (r *Rules) physicals(want string) []string {
	if want != "" {
		return []string{want}
	}
	var names []string
	for p := range r.VLANRanges {
		names = append(names, p)
	}
	slices.Sort(names)
	return names
}

// pickTag finds an id for which free holds, with few questions: free is a
// look-up in an index. As long as ids in use form one block from the start of a
// range, as they do until networks are deleted, the lowest free id is found by
// doubling steps and then bisection. With holes it is some free id behind one in
// use. Only where the ids met on the way are all taken does it go on from a random
// place to the next that is free; the mean number of steps is then the range's size by its
// free ids, and only a range without any is walked whole.
func pickTag(ranges []IDRange, env Env, free func(uint32) bool) (uint32, bool) {
	var size uint64
	for _, rg := range ranges {
		n := uint64(rg.Last-rg.First) + 1
		size += n
		for step := uint64(1); step-1 < n; step *= 2 {
			if at := rg.First + uint32(step-1); free(at) {
				return firstFree(rg.First+uint32(step/2), at, free), true
			}
		}
	}
	if size == 0 {
		return 0, false
	}
	random := env.Random()
	start := binary.BigEndian.Uint64(random[:8]) % size
	for i := range size {
		at := (start + i) % size
		for _, rg := range ranges {
			n := uint64(rg.Last-rg.First) + 1
			if at < n {
				if tag := rg.First + uint32(at); free(tag) {
					return tag, true
				}
				break
			}
			at -= n
		}
	}
	return 0, false
}

// firstFree bisects from lo to hi, where hi is free: its result is free, and
// what is before it (not before lo) is not.
func firstFree(lo, hi uint32, free func(uint32) bool) uint32 {
	for lo < hi {
		if mid := lo + (hi-lo)/2; free(mid) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return hi
}

// Bytes that a tunnel adds to a guest's IP packet over IPv4: the inner
// Ethernet header, the tunnel's own header and the outer IP header. GRE 14 + 8 + 20
// (RFC 2890, with key); VXLAN 14 + 8 + 8 + 20 (RFC 7348); Geneve the same, without
// options (RFC 8926).
const (
	overheadGRE    = 42
	overheadVXLAN  = 50
	overheadGeneve = 50
	overheadIPv6   = 20 // more, when the outer header is IPv6
)

// maxMTU is the largest packet that all segments carry, in bytes; 0 when
// there is no limit.
func (r *Rules) maxMTU(segments []model.Segment) int {
	least := 0
	for _, s := range segments {
		if m := r.segmentMTU(s); m > 0 && (least == 0 || m < least) {
			least = m
		}
	}
	return least
}

func (r *Rules) segmentMTU(s model.Segment) int {
	mtu := r.GlobalMTU
	lower := func(v int) {
		if v > 0 && (mtu == 0 || v < mtu) {
			mtu = v
		}
	}
	if !s.Type.IsTunnel() {
		lower(r.PhysicalMTU[s.Physical])
		return mtu
	}
	if lower(r.PathMTU); mtu == 0 {
		return 0
	}
	switch s.Type {
	case model.TypeGRE:
		mtu -= overheadGRE
	case model.TypeVXLAN:
		mtu -= overheadVXLAN
	default:
		mtu -= overheadGeneve
	}
	if r.UnderlayIPv6 {
		mtu -= overheadIPv6
	}
	return max(mtu, 0)
}

// minMTU is what every IPv4 link must carry (RFC 791).
const minMTU = 68

// mtuFor is the MTU of a network: what was asked for, if the segments carry
// it, else the most that they carry.
func (r *Rules) mtuFor(want Opt[int], segments []model.Segment) (int, error) {
	most := r.maxMTU(segments)
	mtu := want.Or(0)
	switch {
	case mtu == 0:
		return most, nil
	case mtu < minMTU:
		return 0, badInput("Requested MTU is too small, minimum is %d", minMTU)
	case mtu > 65535 || most > 0 && mtu > most:
		if most == 0 {
			most = 65535
		}
		return 0, badInput("Requested MTU is too big, maximum is %d", most)
	}
	return mtu, nil
}
