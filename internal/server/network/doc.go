// Package network holds the rules: what a network, a subnet, a port, a
// security group, a quota and an agent may be, and what a change of one does
// to the others.
//
// A rule is a function of a store transaction, a principal and a spec. It
// reads, it decides, it puts rows; its error is a *fault.Error and rolls the
// transaction back. Transactions run one after the other, so that uniqueness,
// quota, overlap and in-use are plain reads. There is no clock, no randomness
// (both come in Env), no HTTP, no gRPC and no goroutine here.
//
// Error names and sentences are those of Neutron 21, as recorded from one.
// The dialect (internal/server/neutron) calls this package; it calls store,
// policy and ipam.
package network
