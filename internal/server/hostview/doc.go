// Package hostview says what one host needs of the whole state, as pure
// functions: View from scratch, Delta for a change, and Scope for which changes
// concern a host at all.
//
// A delta is built from the same functions as a view, so that following deltas
// and starting from scratch cannot differ; a property test holds that up.
// It sends nothing and keeps nothing. Called by package dispatch.
package hostview
