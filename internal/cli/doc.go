// Package cli is the commands that speak to the Networking API: "weft network create" and the
// like, with the nouns, verbs, options, columns and formats of the openstack command.
//
// Each resource is declared in a file of its own (network.go, port.go …): its columns, its
// options, its words of help. What a verb does with a declaration is written once, in verb.go;
// what an option is, in option.go. A new resource is a declaration and a line in Commands.
// This package knows no rules of networks: the server does. It does not start anything
// and keeps nothing between commands.
// Called by the main package.
package cli
