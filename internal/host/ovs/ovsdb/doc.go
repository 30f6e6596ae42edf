// Package ovsdb is a client of the Open vSwitch Database (RFC 7047 and the
// extensions of ovsdb-server(7)) that keeps a replica of the monitored tables in
// memory.
//
// It does: one connection over a unix or TCP socket, JSON-RPC, the schema,
// monitor_cond_since with update3, transactions, the inactivity probe, and
// reconnection that resumes after the last transaction seen where the server
// allows it. Values are kept in the database's own terms (Atom, Datum, Row); it
// knows no table by name.
//
// It does not: know Open vSwitch (package vsw does), take locks, talk TLS, or
// change the schema. It never writes by itself.
//
// Called by: vsw.
package ovsdb
