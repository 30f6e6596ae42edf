package neutron

import (
	"net/http"
	"strconv"

	"weft/internal/fault"
)

// statusOf maps each kind of fault to its status code and to the type that the
// error body carries when the fault names none.
var statusOf = map[fault.Kind]struct {
	code int
	typ  string
}{
	fault.Internal:      {http.StatusInternalServerError, "HTTPInternalServerError"},
	fault.Invalid:       {http.StatusBadRequest, "HTTPBadRequest"},
	fault.Unauthorized:  {http.StatusUnauthorized, "HTTPUnauthorized"},
	fault.Forbidden:     {http.StatusForbidden, "PolicyNotAuthorized"},
	fault.NotFound:      {http.StatusNotFound, "HTTPNotFound"},
	fault.Conflict:      {http.StatusConflict, "Conflict"},
	fault.Stale:         {http.StatusPreconditionFailed, "RevisionNumberConstraintFailed"},
	fault.Unavailable:   {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.QuotaExceeded: {http.StatusConflict, "OverQuota"},
	fault.NotSupported:  {http.StatusNotImplemented, "HTTPNotImplemented"},
}

// tooLarge is not a kind of fault: no rule can meet it.
type tooLarge struct{ limit int64 }

func (e tooLarge) Error() string {
	return "Request body is larger than " + strconv.FormatInt(e.limit, 10) + " bytes"
}

// notAllowed answers a method that a path does not have.
type notAllowed struct{ allow string }

func (notAllowed) Error() string {
	return "The server could not comply with the request since it is either malformed or otherwise incorrect."
}

// appendError appends the body of an error and returns its status code.
// What an Internal fault wraps is for the log, never for the client.
func appendError(b []byte, err error) ([]byte, int) {
	switch e := err.(type) {
	case tooLarge:
		return appendErrorBody(b, "HTTPRequestEntityTooLarge", e.Error(), ""), http.StatusRequestEntityTooLarge
	case notAllowed:
		return appendErrorBody(b, "HTTPMethodNotAllowed", e.Error(), ""), http.StatusMethodNotAllowed
	}
	f := fault.As(err)
	if f == nil || f.Kind == fault.Internal {
		f = fault.New(fault.Internal, "", "Request Failed: internal server error while processing your request.")
	}
	s := statusOf[f.Kind]
	typ := f.Type
	if typ == "" {
		typ = s.typ
	}
	return appendErrorBody(b, typ, f.Message, f.Detail), s.code
}

func appendErrorBody(b []byte, typ, message, detail string) []byte {
	b = append(b, `{"NeutronError":{"type":`...)
	b = appendString(b, typ)
	b = append(b, `,"message":`...)
	b = appendString(b, message)
	b = append(b, `,"detail":`...)
	b = appendString(b, detail)
	return append(b, `}}`...)
}

// badRequest is what Neutron's attribute validation answers.
func badRequest(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "HTTPBadRequest", format, args...)
}

// badResource is the refusal of a request for a resource as a whole.
func badResource(resource, format string, args ...any) *fault.Error {
	e := fault.New(fault.Invalid, "BadRequest", format, args...)
	e.Message = "Bad " + resource + " request: " + e.Message
	return e
}

// invalidAttribute is a value that the attribute's validation refuses.
func invalidAttribute(name, format string, args ...any) *fault.Error {
	e := badRequest(format, args...)
	e.Message = "Invalid input for " + name + ". Reason: " + e.Message
	return e
}

// invalidInput is a value that cannot be converted.
func invalidInput(format string, args ...any) *fault.Error {
	e := fault.New(fault.Invalid, "InvalidInput", format, args...)
	e.Message = "Invalid input for operation: " + e.Message
	return e
}

// errNoSuchResource is the answer to a path that leads nowhere below /v2.0.
func errNoSuchResource() *fault.Error {
	return fault.New(fault.NotFound, "HTTPNotFound", "The resource could not be found.")
}
