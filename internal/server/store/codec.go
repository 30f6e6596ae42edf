package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
)

// A row's value is the JSON of its object with one more field in front, the
// schema version: {"schema":1,"id":…}. It is readable by eye, and decoded in one pass.
const schemaField = `{"schema":`

// rowEncoder is a buffer to encode rows into, kept for the next.
type rowEncoder struct {
	buf  bytes.Buffer
	json *json.Encoder // into buf
}

var rowEncoders = sync.Pool{New: func() any {
	e := &rowEncoder{}
	e.json = json.NewEncoder(&e.buf)
	return e
}}

func encodeRow(schema int, obj any) ([]byte, error) {
	e := rowEncoders.Get().(*rowEncoder)
	defer rowEncoders.Put(e)
	e.buf.Reset()
	e.buf.WriteString(schemaField)
	e.buf.WriteString(strconv.Itoa(schema))
	at := e.buf.Len()
	if err := e.json.Encode(obj); err != nil {
		return nil, fmt.Errorf("encoding row: %w", err)
	}
	value := bytes.TrimSuffix(e.buf.Bytes(), []byte{'\n'})
	if len(value) < at+3 || value[at] != '{' {
		return nil, errors.New("encoding row: it is not an object with fields")
	}
	value[at] = ','
	return bytes.Clone(value), nil
}

// decodeRow reads what encodeRow wrote into obj. It refuses what it does not
// know, fields too: a row that is read without them would lose them when it is
// written again. The value is overwritten.
func decodeRow(schema int, value []byte, obj any) error {
	rest, ok := bytes.CutPrefix(value, []byte(schemaField))
	if !ok {
		return errors.New("the value does not begin with a schema version")
	}
	comma := bytes.IndexByte(rest, ',')
	if comma < 0 {
		return errors.New("the value ends after the schema version")
	}
	v, err := strconv.Atoi(string(rest[:comma]))
	if err != nil || v < 1 {
		return fmt.Errorf("schema version %q is not a number", rest[:comma])
	}
	if v > schema {
		return fmt.Errorf("schema version %d is newer than %d, the newest that this release knows", v, schema)
	}
	body := rest[comma:]
	body[0] = '{'
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(obj); err != nil {
		return err
	}
	if d.InputOffset() != int64(len(body)) {
		return errors.New("something follows the object")
	}
	return nil
}
