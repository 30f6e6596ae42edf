package store

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"weft/internal/model"
)

// What follows turns keys into text that compares as the keys do: two texts are equal when the keys
// are, and keys that are scanned in order have texts of that order.

// byText is for keys that are text already.
func byText(s string) string { return s }

// byUUID is for typed ids.
func byUUID[K ~struct{ model.UUID }](id K) string {
	u := struct{ model.UUID }(id).UUID
	return string(u[:])
}

// byFlag is for indexes that have one key.
func byFlag(struct{}) string { return "" }

// byAddr orders addresses: none, IPv4, IPv6, each by its value.
func byAddr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return string(append([]byte{byte(a.BitLen() / 8)}, a.AsSlice()...))
}

// addrOf is the inverse of byAddr.
func addrOf(text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice([]byte(text[1:]))
	return a
}

// pair joins two texts so that no other two give the same.
func pair(a, b string) string {
	var n [2]byte
	binary.BigEndian.PutUint16(n[:], uint16(len(a)))
	return strings.Join([]string{string(n[:]), a, b}, "")
}

// tagText orders numbers.
func tagText(n uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return string(b[:])
}

// tagOf is the inverse of tagText.
func tagOf(text string) uint32 { return binary.BigEndian.Uint32([]byte(text)) }
