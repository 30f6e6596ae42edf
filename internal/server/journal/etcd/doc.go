// Package etcd is the journal on etcd: embedded in the server's process, or a
// cluster that the operator runs. It alone imports etcd.
//
// A term is a key, LeaderKey, that lives as long as its lease. Beginning a term
// writes the key, and every append compares the revision of that write: once a later term
// has begun, no append of an earlier one can succeed, whenever it arrives.
//
// The package knows keys and bytes, not tables. cmd starts it, store uses it.
package etcd
