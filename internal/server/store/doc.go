// Package store keeps all objects in memory, in tables with typed indexes, and
// makes every change durable in a journal before anybody learns of it.
//
// One goroutine runs all transactions, one after the other, against the live
// tables; a second writes what they changed to the journal, a batch at a time,
// while the first is already computing the next batch. Readers take a Snapshot,
// which is the durable state of some batch: immutable, without locks, free to keep.
//
// The package alone knows the keys and the encoding of rows. It holds no rules:
// what may be written is decided by package network, which it knows nothing of.
// The dialect, the rules, hostview and dispatch call it.
//
// docs/adr/0001-tables.md tells why the tables are our own, with figures.
package store
