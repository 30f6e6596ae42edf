package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// A row's value is the JSON of its object with one more field in front, the
// schema version: {"schema":1,"id":…}. It is readable by eye, and decoded in one pass.
const schemaField = `{"schema":`

func encodeRow(schema int, obj any) ([]byte, error) {
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encoding row: %w", err)
	}
	if len(body) < 3 || body[0] != '{' {
		return nil, errors.New("encoding row: it is not an object with fields")
	}
	value := make([]byte, 0, len(schemaField)+4+len(body))
	value = append(value, schemaField...)
	value = strconv.AppendInt(value, int64(schema), 10)
	value = append(value, ',')
	return append(value, body[1:]...), nil
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
