// Package responder answers what guests ask their network, from memory, on the guest's own host: DHCPv4, DHCPv6, who the routers
// are, and where the DHCP port is.
//
// It turns one frame into its answers or into none. It has no sockets and no
// clock: the agent takes frames from the switch, which names the port they came
// from, asks Limiter whether that port has asked too often, and sends answers
// back out of the same port. Who a guest is follows from its port, never from
// what is in the frame. ARP and pings are answered by flows (package pipeline).
//
// Every byte of a frame is the guest's and may be hostile: the parsers are
// fuzzed, answers echo nothing that was not checked.
package responder
