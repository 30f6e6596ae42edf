// Package arch holds the project to its own architecture: who may import whom, which package
// owns which library, what pure packages may not use, how large things may
// grow. The rules are tests (arch_test.go), each with its reason.
//
// It has no code. docs/ARCHITECTURE.md explains the cuts; ADRs explain changes of them.
package arch
