// Package router makes routers on a gateway host: what a router is there, as a pure Plan of the view
// (namespace qrouter-<id>, legs qr- and qg-, addresses, routes, address translation in Neutron's chains), and
// a Host that makes it so.
//
// The kernel forwards: there is no process for a router. Legs are veth pairs, one end in the namespace and
// one on br-int; the flows that lead to them are package pipeline's, the port on br-int is hoststate's.
// Called by package agent.
package router
