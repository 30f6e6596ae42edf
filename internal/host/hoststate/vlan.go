package hoststate

import (
	"errors"
	"slices"

	"weft/internal/model"
)

// Local VLAN ids: 0 and 4095 are reserved (IEEE 802.1Q).
const (
	minVLAN = 1
	maxVLAN = 4094
)

// ErrNoVLAN means that the host has ports on more networks than there are VLAN ids.
var ErrNoVLAN = errors.New("all 4094 local VLAN ids of this host are in use")

// VLANs gives each network with a port on the host a VLAN id that is its own on
// this host and means nothing elsewhere. The lowest free one is taken.
type VLANs struct {
	byNetwork map[model.NetworkID]uint16
	byID      map[uint16]model.NetworkID
}

// NewVLANs returns an empty allocation.
func NewVLANs() *VLANs {
	return &VLANs{byNetwork: map[model.NetworkID]uint16{}, byID: map[uint16]model.NetworkID{}}
}

// Recover notes that a network has an id already, as read from the switch after a
// restart. It returns false when that contradicts what is known.
func (v *VLANs) Recover(n model.NetworkID, id uint16) bool {
	if id < minVLAN || id > maxVLAN {
		return false
	}
	if have, ok := v.byNetwork[n]; ok {
		return have == id
	}
	if _, taken := v.byID[id]; taken {
		return false
	}
	v.byNetwork[n], v.byID[id] = id, n
	return true
}

// Assign returns the network's id, a new one on first use.
func (v *VLANs) Assign(n model.NetworkID) (uint16, error) {
	if id, ok := v.byNetwork[n]; ok {
		return id, nil
	}
	for id := uint16(minVLAN); id <= maxVLAN; id++ {
		if _, taken := v.byID[id]; !taken {
			v.byNetwork[n], v.byID[id] = id, n
			return id, nil
		}
	}
	return 0, ErrNoVLAN
}

// Keep releases the ids of all networks but these, and returns them in order.
func (v *VLANs) Keep(wanted func(model.NetworkID) bool) (released []uint16) {
	for n, id := range v.byNetwork {
		if !wanted(n) {
			delete(v.byNetwork, n)
			delete(v.byID, id)
			released = append(released, id)
		}
	}
	slices.Sort(released)
	return released
}
