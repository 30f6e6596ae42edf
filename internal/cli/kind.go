package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weft/internal/client"
	"weft/internal/pyrepr"
)

// A kind turns the text of a flag into the value of an attribute. The zero kind takes any text
// as it is.
type kind struct {
	check   func(text string) error                                              // while flags are read; nil: any text
	value   func(ctx context.Context, r *request, text string) (any, error)      // nil: the text
	choices []string                                                             // all there are, for completion
	names   *client.Resource                                                     // whose names complete it
	match   func(ctx context.Context, r *request, text string) ([]string, error) // as values of a filter; nil: value's
}

// unsaid is the value of a text that means: leave the attribute out.
type unsaid struct{}

func (k kind) valueOf(ctx context.Context, r *request, text string) (any, error) {
	if k.value == nil {
		return text, nil
	}
	return k.value(ctx, r, text)
}

// matches returns the values of a filter that a text means.
func (k kind) matches(ctx context.Context, r *request, text string) ([]string, error) {
	if k.match != nil {
		return k.match(ctx, r, text)
	}
	v, err := k.valueOf(ctx, r, text)
	return []string{pyrepr.Str(v)}, err
}

// number takes whole numbers of a range.
func number(low, high int) kind {
	return kind{
		check: func(text string) error {
			n, err := strconv.Atoi(text)
			switch {
			case err != nil:
				return errors.New("want a number")
			case n < low || n > high:
				return fmt.Errorf("want a number from %d to %d", low, high)
			}
			return nil
		},
		value: func(_ context.Context, _ *request, text string) (any, error) { return strconv.Atoi(text) },
	}
}

// oneOf takes the listed texts.
func oneOf(choices ...string) kind {
	return kind{choices: choices, check: func(text string) error {
		if !slices.Contains(choices, text) {
			return fmt.Errorf("want one of %s", strings.Join(choices, ", "))
		}
		return nil
	}}
}

// oneNumberOf takes the listed numbers.
func oneNumberOf(choices ...string) kind {
	k := oneOf(choices...)
	k.value = number(0, 0).value
	return k
}

// reference takes the name or id of an object, and gives its id.
func reference(of client.Resource) kind {
	return kind{names: &of, value: func(ctx context.Context, r *request, text string) (any, error) {
		o, err := r.api.Find(ctx, of, text)
		if err != nil {
			return nil, err
		}
		return o.ID(), nil
	}}
}

// A key is one of the keys of a flag that takes KEY=VALUE,…, and the attribute it stands for.
type key struct {
	name, attribute string
	as              kind
	needed          bool
}

// object takes KEY=VALUE,… and gives an object of attributes. With commas, values may have some.
func object(commas bool, keys ...key) kind {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	find := func(name string) key { return keys[slices.Index(names, name)] }
	return kind{
		check: func(text string) error {
			pairs, err := parsePairs(text, names, commas)
			if err != nil {
				return err
			}
			for _, p := range pairs {
				if k := find(p.key); k.as.check != nil {
					if err := k.as.check(p.value); err != nil {
						return fmt.Errorf("%s: %w", p.key, err)
					}
				}
			}
			for _, k := range keys {
				if k.needed && !slices.ContainsFunc(pairs, func(p pair) bool { return p.key == k.name }) {
					return fmt.Errorf("%s is missing", k.name)
				}
			}
			return nil
		},
		value: func(ctx context.Context, r *request, text string) (any, error) {
			pairs, err := parsePairs(text, names, commas)
			if err != nil {
				return nil, err
			}
			out := map[string]any{}
			for _, p := range pairs {
				k := find(p.key)
				if out[k.attribute], err = k.as.valueOf(ctx, r, p.value); err != nil {
					return nil, err
				}
			}
			return out, nil
		},
		match: func(ctx context.Context, r *request, text string) ([]string, error) {
			pairs, err := parsePairs(text, names, commas)
			if err != nil {
				return nil, err
			}
			var out []string
			for _, p := range pairs {
				k := find(p.key)
				v, err := k.as.valueOf(ctx, r, p.value)
				if err != nil {
					return nil, err
				}
				out = append(out, k.attribute+"="+pyrepr.Str(v))
			}
			return out, nil
		},
	}
}
