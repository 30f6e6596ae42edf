package model

import (
	"encoding/hex"
	"fmt"
)

// UUID is a 128-bit identifier in RFC 9562 form, the id of every object.
type UUID [16]byte

// IsZero reports whether the id is unset.
func (u UUID) IsZero() bool { return u == UUID{} }

// String returns the canonical 36-character lower-case form.
func (u UUID) String() string {
	var b [36]byte
	u.encode(b[:])
	return string(b[:])
}

func (u UUID) encode(b []byte) {
	hex.Encode(b[0:8], u[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], u[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], u[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], u[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], u[10:16])
}

// MarshalText returns the canonical form; the zero id is the empty string.
func (u UUID) MarshalText() ([]byte, error) {
	if u.IsZero() {
		return []byte{}, nil
	}
	b := make([]byte, 36)
	u.encode(b)
	return b, nil
}

// UnmarshalText accepts what ParseUUID accepts, and the empty string as the
// zero id.
func (u *UUID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*u = UUID{}
		return nil
	}
	v, err := ParseUUID(string(b))
	if err != nil {
		return err
	}
	*u = v
	return nil
}

// Compare orders ids by their bytes.
func (u UUID) Compare(v UUID) int {
	for i := range u {
		if u[i] != v[i] {
			if u[i] < v[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// ParseUUID reads the 36-character form with dashes, or the 32-character form
// without, in either case of letters. Anything else is an error.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	var h [32]byte
	switch len(s) {
	case 36:
		if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
			return UUID{}, fmt.Errorf("%q is not a UUID", s)
		}
		n := copy(h[:], s[0:8])
		n += copy(h[n:], s[9:13])
		n += copy(h[n:], s[14:18])
		n += copy(h[n:], s[19:23])
		copy(h[n:], s[24:36])
	case 32:
		copy(h[:], s)
	default:
		return UUID{}, fmt.Errorf("%q is not a UUID", s)
	}
	if _, err := hex.Decode(u[:], h[:]); err != nil {
		return UUID{}, fmt.Errorf("%q is not a UUID", s)
	}
	return u, nil
}

// RandomUUID makes a version 4 id of 16 random bytes (RFC 9562 section 5.4).
// The caller brings the randomness, so that rules stay pure.
func RandomUUID(random [16]byte) UUID {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return random
}

// Typed ids: an id of one kind cannot be passed where another is meant.
type (
	NetworkID           struct{ UUID }
	SubnetID            struct{ UUID }
	PortID              struct{ UUID }
	SecurityGroupID     struct{ UUID }
	SecurityGroupRuleID struct{ UUID }
	AddressGroupID      struct{ UUID }
	SegmentID           struct{ UUID }
	AgentID             struct{ UUID }
	RouterID            struct{ UUID }
	FloatingIPID        struct{ UUID }
	PortForwardingID    struct{ UUID }
	AddressScopeID      struct{ UUID }
	SubnetPoolID        struct{ UUID }
)

// DeviceSuffix is the part of a port's id that names its devices on a host:
// "tap", "qbr", "qvb" and "qvo" are followed by these 11 characters.
func (p PortID) DeviceSuffix() string { return p.String()[:11] }

// ChainSuffix is the part of a port's id that names its iptables chains:
// 10 characters, what a chain name leaves room for.
func (p PortID) ChainSuffix() string { return p.String()[:10] }
