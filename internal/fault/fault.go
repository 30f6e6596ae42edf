// Package fault holds the closed list of error kinds that callers branch on.
//
// Rules return a *fault.Error; the v2.0 dialect turns its kind into a status
// code in one table. Type is Neutron's exception name, which clients read.
package fault

import (
	"errors"
	"fmt"
)

// Kind is what went wrong, from the caller's point of view.
type Kind uint8

// The kinds.
const (
	Internal      Kind = iota // a bug or an outage of ours
	Invalid                   // the request cannot be right: 400
	Unauthorized              // who are you: 401
	Forbidden                 // you may not: 403
	NotFound                  // there is no such thing, or it is not yours to see: 404
	Conflict                  // right, but not now: 409
	Stale                     // If-Match did not hold: 412
	Unavailable               // no leader, journal lost: 503
	QuotaExceeded             // 409, type OverQuota
	NotSupported              // 501
)

// Error is an error with a kind and the name that clients know it by.
type Error struct {
	Kind    Kind
	Type    string // Neutron's exception name: "PortNotFound"
	Message string // one sentence for the user
	Detail  string
	cause   error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause, which the user is not shown.
func (e *Error) Unwrap() error { return e.cause }

// New makes an error of a kind with the name and sentence that the user sees.
func New(k Kind, typ, format string, args ...any) *Error {
	return &Error{Kind: k, Type: typ, Message: fmt.Sprintf(format, args...)}
}

// Because attaches the cause that the log shall have.
func (e *Error) Because(err error) *Error {
	c := *e
	c.cause = err
	return &c
}

// Of returns the kind of an error, Internal when it has none.
func Of(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// As returns the fault in an error's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
