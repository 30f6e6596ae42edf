// Package hostpb is the stream between a Weft server and the agent of a host:
// the messages generated from host.proto, and the two directions between them
// and the view of package model (view.go).
//
// It is all that server and host share beside the foundation. Only the
// dispatcher and the agent import it.
//
//go:generate protoc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative host.proto
package hostpb
