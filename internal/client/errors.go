package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// An Error is a refusal: the server answered, and not with what was asked for.
type Error struct {
	Status  int    // of HTTP
	Type    string // Neutron's exception name: "NetworkInUse"; empty when the answer was not the API's
	Message string
	Detail  string
	Method  string
	Path    string
}

func (e *Error) Error() string {
	if e.Type == "" {
		return fmt.Sprintf("%s %s: %d %s, and the answer is not the Networking API's", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	}
	text := e.Message
	if e.Detail != "" {
		text += " " + e.Detail
	}
	return fmt.Sprintf("%s (%s, HTTP %d)", text, e.Type, e.Status)
}

// Status returns the HTTP status of the refusal in an error's chain, 0 when there is none.
func Status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// parseError makes an Error of an answer's body, in Neutron's form or in Keystone's, which
// middleware uses ("error": {"code", "title", "message"}).
func parseError(method, path string, status int, body []byte) *Error {
	e := &Error{Status: status, Method: method, Path: path}
	var answer struct {
		NeutronError struct{ Type, Message, Detail string }
		Error        struct{ Title, Message string } `json:"error"`
	}
	if Decode(body, &answer) != nil {
		return e
	}
	switch n := answer.NeutronError; {
	case n.Type != "":
		e.Type, e.Message, e.Detail = n.Type, n.Message, n.Detail
	case answer.Error.Message != "":
		e.Type, e.Message = answer.Error.Title, answer.Error.Message
		if e.Type == "" {
			e.Type = http.StatusText(status)
		}
	}
	return e
}

// Unreachable means that nobody answered: no connection, or none in time.
type Unreachable struct {
	URL     string // of the server
	Timeout bool
	Err     error
}

func (e *Unreachable) Error() string {
	if e.Timeout {
		return fmt.Sprintf("no answer from %s in time", e.URL)
	}
	return fmt.Sprintf("no server at %s: %v", e.URL, e.Err)
}

// Unwrap returns the network's error.
func (e *Unreachable) Unwrap() error { return e.Err }

// NotFound means that no object has the name or id that was asked for.
type NotFound struct {
	Resource  Resource
	Reference string
}

func (e *NotFound) Error() string {
	if e.Resource.NameKey == "" {
		return fmt.Sprintf("no %s with the id %q", e.Resource.Words(), e.Reference)
	}
	return fmt.Sprintf("no %s with the %s or id %q", e.Resource.Words(), e.Resource.NameKey, e.Reference)
}

// Ambiguous means that several objects have the name that was asked for.
type Ambiguous struct {
	Resource  Resource
	Reference string
	Found     []Object
}

func (e *Ambiguous) Error() string {
	var ids []string
	for _, o := range e.Found {
		text := o.ID()
		if p := o.Text("project_id"); p != "" {
			text += " of project " + p
		}
		ids = append(ids, text)
	}
	return fmt.Sprintf("%d objects are called %s %q, give the id of the one that is meant: %s",
		len(e.Found), e.Resource.Words(), e.Reference, strings.Join(ids, ", "))
}
