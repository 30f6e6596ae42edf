package neutron

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"
	"unicode/utf8"

	"weft/internal/pyrepr"
)

// Limits of a request's body. No client comes near them.
const (
	maxBodyBytes = 4 << 20
	maxBodyDepth = 24
)

// A decoded JSON value is one of nil, bool, json.Number, string, []any, *object.

// object is a JSON object with its keys in the order of the request.
type object struct {
	keys   []string
	values []any
}

// Pairs yields keys and values in the order of the body, for messages that show it.
func (o *object) Pairs() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i, k := range o.keys {
			if !yield(k, o.values[i]) {
				return
			}
		}
	}
}

// get returns the value of a key, and whether it is there: absent and null are
// not the same.
func (o *object) get(key string) (any, bool) {
	for i, k := range o.keys {
		if k == key {
			return o.values[i], true
		}
	}
	return nil, false
}

// without returns the object less one key.
func (o *object) without(key string) *object {
	c := &object{}
	for i, k := range o.keys {
		if k != key {
			c.keys, c.values = append(c.keys, k), append(c.values, o.values[i])
		}
	}
	return c
}

// readBody reads a whole body; one that is too large is refused unread.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBodyBytes {
		return nil, tooLarge{maxBodyBytes}
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 {
		buf.Grow(int(r.ContentLength) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
		return nil, tooLarge{maxBodyBytes}
	}
	if err != nil && err != io.EOF {
		return nil, badRequest("Body cannot be read")
	}
	return buf.Bytes(), nil
}

// decodeBody decodes a body strictly: valid UTF-8, one value, no duplicate
// keys, bounded depth. An empty body is an empty object, as the peer has it.
func decodeBody(data []byte) (*object, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return &object{}, nil
	}
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, badRequest("Body contains invalid data")
	}
	p := parser{data: data}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	o, ok := v.(*object)
	if !ok {
		return nil, badRequest("Body contains invalid data")
	}
	return o, nil
}

// parser reads JSON that json.Valid has accepted, so it need not look for
// syntax errors. encoding/json itself is not used because it merges duplicate
// keys, ignores the case of names and costs several times as much.
type parser struct {
	data []byte
	pos  int
}

func (p *parser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (any, error) {
	if depth > maxBodyDepth {
		return nil, badRequest("Body contains invalid data: nested deeper than %d levels", maxBodyDepth)
	}
	p.space()
	switch c := p.data[p.pos]; c {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		return p.string()
	case 't':
		p.pos += len("true")
		return true, nil
	case 'f':
		p.pos += len("false")
		return false, nil
	case 'n':
		p.pos += len("null")
		return nil, nil
	default:
		start := p.pos
		for p.pos < len(p.data) && strings.IndexByte("+-.eE0123456789", p.data[p.pos]) >= 0 {
			p.pos++
		}
		return json.Number(p.data[start:p.pos]), nil
	}
}

func (p *parser) object(depth int) (any, error) {
	o := &object{}
	var seen map[string]struct{} // only when there are many: a short list is looked through
	p.pos++
	for {
		p.space()
		if p.data[p.pos] == '}' {
			p.pos++
			return o, nil
		}
		if p.data[p.pos] == ',' {
			p.pos++
			continue
		}
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		duplicate := false
		if len(o.keys) < 32 {
			_, duplicate = o.get(key)
		} else {
			if seen == nil {
				seen = make(map[string]struct{}, 64)
				for _, k := range o.keys {
					seen[k] = struct{}{}
				}
			}
			_, duplicate = seen[key]
			seen[key] = struct{}{}
		}
		if duplicate {
			return nil, badRequest("Body contains invalid data: duplicate key '%s'", key)
		}
		p.space()
		p.pos++ // the colon
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if o.keys == nil { // few have more
			o.keys, o.values = make([]string, 0, 8), make([]any, 0, 8)
		}
		o.keys, o.values = append(o.keys, key), append(o.values, v)
	}
}

func (p *parser) array(depth int) (any, error) {
	list := []any{}
	p.pos++
	for {
		p.space()
		switch p.data[p.pos] {
		case ']':
			p.pos++
			return list, nil
		case ',':
			p.pos++
			continue
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (p *parser) string() (string, error) {
	start := p.pos
	escaped := false
	for p.pos++; p.data[p.pos] != '"'; p.pos++ {
		if p.data[p.pos] == '\\' {
			escaped = true
			p.pos++
		}
	}
	p.pos++
	if !escaped {
		return string(p.data[start+1 : p.pos-1]), nil
	}
	var s string
	if err := json.Unmarshal(p.data[start:p.pos], &s); err != nil {
		return "", badRequest("Body contains invalid data")
	}
	return s, nil
}

// quoted is a value with quotes around whatever it is, for messages that have them
// around every value.
func quoted(v any) string {
	if s, ok := v.(string); ok {
		return pyrepr.Of(s)
	}
	return "'" + pyrepr.Of(v) + "'"
}
