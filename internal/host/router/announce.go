package router

import (
	"encoding/binary"
	"net/netip"

	"weft/internal/model"
)

// announcement is the frame by which a leg tells its wire that it has an address: a gratuitous ARP
// request (RFC 5227, 3) for IPv4, an unsolicited neighbour advertisement (RFC 4861, 7.2.6) for IPv6.
func announcement(mac model.MAC, a netip.Addr) []byte {
	if a.Is4() {
		return gratuitousARP(mac, a.As4())
	}
	return unsolicitedNA(mac, a.As16())
}

func gratuitousARP(mac model.MAC, a [4]byte) []byte {
	f := append([]byte{255, 255, 255, 255, 255, 255}, mac[:]...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // ARP, Ethernet, IPv4, request
	f = append(append(f, mac[:]...), a[:]...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a[:]...)
}

func unsolicitedNA(mac model.MAC, a [16]byte) []byte {
	allNodes := [16]byte{0: 0xff, 1: 0x02, 15: 1}
	icmp := []byte{136, 0, 0, 0, 0xa0, 0, 0, 0} // router, override
	icmp = append(icmp, a[:]...)
	icmp = append(append(icmp, 2, 1), mac[:]...) // target link-layer address
	binary.BigEndian.PutUint16(icmp[2:], checksum6(a, allNodes, icmp))
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac[:]...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255)
	f = append(append(f, a[:]...), allNodes[:]...)
	return append(f, icmp...)
}

// checksum6 is that of an ICMPv6 message of even length (RFC 8200, 8.1).
func checksum6(src, dst [16]byte, msg []byte) uint16 {
	sum := uint32(len(msg)) + 58
	for _, b := range [][]byte{src[:], dst[:], msg} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
