package model

import (
	"encoding/hex"
	"fmt"
)

// MAC is an EUI-48 hardware address.
type MAC [6]byte

// IsZero reports whether the address is unset.
func (m MAC) IsZero() bool { return m == MAC{} }

// IsMulticast reports whether the group bit is set (IEEE 802, broadcast included).
func (m MAC) IsMulticast() bool { return m[0]&1 == 1 }

// String returns the lower-case form with colons.
func (m MAC) String() string {
	const digits = "0123456789abcdef"
	var b [17]byte
	for i, v := range m {
		if i > 0 {
			b[i*3-1] = ':'
		}
		b[i*3], b[i*3+1] = digits[v>>4], digits[v&15]
	}
	return string(b[:])
}

// MarshalText returns String; the zero address is the empty string.
func (m MAC) MarshalText() ([]byte, error) {
	if m.IsZero() {
		return []byte{}, nil
	}
	return []byte(m.String()), nil
}

// UnmarshalText accepts what ParseMAC accepts, and the empty string as zero.
func (m *MAC) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = MAC{}
		return nil
	}
	v, err := ParseMAC(string(b))
	if err != nil {
		return err
	}
	*m = v
	return nil
}

// ParseMAC reads six hexadecimal octets separated by colons or dashes, or
// twelve digits alone.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	var h []byte
	switch len(s) {
	case 12:
		h = []byte(s)
	case 17:
		sep := s[2]
		if sep != ':' && sep != '-' {
			return MAC{}, fmt.Errorf("%q is not a MAC address", s)
		}
		h = make([]byte, 0, 12)
		for i := 0; i < 17; i++ {
			if i%3 == 2 {
				if s[i] != sep {
					return MAC{}, fmt.Errorf("%q is not a MAC address", s)
				}
				continue
			}
			h = append(h, s[i])
		}
	default:
		return MAC{}, fmt.Errorf("%q is not a MAC address", s)
	}
	if _, err := hex.Decode(m[:], h); err != nil {
		return MAC{}, fmt.Errorf("%q is not a MAC address", s)
	}
	return m, nil
}

// EUI64 is the interface identifier part of a SLAAC address (RFC 4291 appendix A).
func (m MAC) EUI64() [8]byte {
	return [8]byte{m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
}
