package client

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
)

// A Resource is a kind of object: how its bodies and its paths are called.
type Resource struct {
	Name       string // key of one object in a body: "security_group_rule"
	Collection string // key of a list in a body: "security_group_rules"
	Path       string // below /v2.0: "security-group-rules"
	NameKey    string // attribute that people call it by; empty: it has ids only
	IDKey      string // attribute with the id; empty: "id"
	Among      string // KEY=VALUE that an object passes which is called by its name; empty: any does
}

// ID returns the name of the attribute that identifies an object.
func (r Resource) ID() string { return cmp.Or(r.IDKey, "id") }

// Words returns the resource's name as it is said: "security group rule".
func (r Resource) Words() string { return strings.ReplaceAll(r.Name, "_", " ") }

// An Object is an object of the API by attribute. Values are those of encoding/json,
// with numbers as json.Number.
type Object map[string]any

// Text returns an attribute that is a string; "" when it is absent, null or something else.
func (o Object) Text(key string) string {
	s, _ := o[key].(string)
	return s
}

// ID returns the object's id.
func (o Object) ID() string { return o.Text("id") }

// List returns an attribute that is a list; nil when it is absent, null or something else.
func (o Object) List(key string) []any {
	l, _ := o[key].([]any)
	return l
}

// Decode stores the object in a struct with json tags.
func (o Object) Decode(into any) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// Decode reads one JSON value without losing digits of its numbers.
func Decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(into)
}
