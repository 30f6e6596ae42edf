package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"weft/internal/client"
	"weft/internal/pyrepr"
)

// A verb is what is done to a resource. Verbs are bits, so that an option can name several.
type verb uint8

const (
	onCreate verb = 1 << iota
	onList
	onShow
	onSet
	onUnset
	onDelete
)

// A request is what the flags of one command add up to.
type request struct {
	api     *client.Client
	verb    verb
	body    client.Object            // of create, set and unset
	query   url.Values               // of list
	keep    func(client.Object) bool // of list: what is shown of what the server answers; nil: all
	current client.Object            // the object as it is, for set and unset
	merged  bool                     // body was made of current: it holds only while that has not changed
	tags    func() []string          // the tags that the object shall have, nil: as they are
}

// An option is one or two flags, and what they add to a request.
type option struct {
	on   verb                    // verbs that have it
	bind func(f *flags) addition // declares the flags for one command
}

// An addition reads the flags and adds to the request.
type addition func(ctx context.Context, r *request) error

// bind declares the flags that options have for the command's verb.
func bind(f *flags, options []option) addition {
	var all []addition
	for _, o := range options {
		if o.on&f.verb == 0 {
			continue
		}
		f.group = map[verb]string{onCreate: groupAttributes, onSet: groupAttributes, onUnset: groupRemove, onList: groupFilters}[f.verb]
		all = append(all, o.bind(f))
	}
	return func(ctx context.Context, r *request) error {
		for _, add := range all {
			if err := add(ctx, r); err != nil {
				return err
			}
		}
		return nil
	}
}

// An attr is an option with one attribute that has one value.
type attr struct {
	flag, arg, key, help string
	as                   kind
	on                   verb
	needed               bool // by create
}

func (a attr) option() option {
	return option{a.on, func(f *flags) addition {
		given := f.text(a.flag, a.arg, a.help, a.as)
		if a.needed && f.verb == onCreate {
			f.needed(a.flag)
		}
		return func(ctx context.Context, r *request) error {
			if len(given.given) == 0 {
				return nil
			}
			if r.verb == onList {
				return r.filter(ctx, a.key, a.as, given.given)
			}
			v, err := a.as.valueOf(ctx, r, given.last())
			if _, nothing := v.(unsaid); err != nil || nothing {
				return err
			}
			r.body[a.key] = v
			return nil
		}
	}}
}

// filter adds a filter with the values that texts mean.
func (r *request) filter(ctx context.Context, key string, as kind, texts []string) error {
	for _, t := range texts {
		values, err := as.matches(ctx, r, t)
		if err != nil {
			return err
		}
		r.query[key] = append(r.query[key], values...)
	}
	return nil
}

// A list is an option with one attribute that is a list: create gives it, set adds to it, unset
// takes away from it, list shows what has any of its values.
type list struct {
	flag, arg, key, help string
	as                   kind
	on                   verb
	clear                string // flag that empties it; with set, what is given then replaces all
	clearOn              verb   // verbs that have it
	clearHelp            string
	replace              bool // set gives it as it is, for the server merges
	front                bool // set adds before what is there
	here                 bool // list picks by the text itself, for the API has no such filter
}

func (l list) option() option {
	return option{l.on, func(f *flags) addition {
		given := f.texts(l.flag, l.arg, l.help+" (repeat for several)", l.as)
		empty := new(bool)
		if l.clearOn&f.verb != 0 {
			empty = f.yes(l.clear, l.clearHelp)
			if f.verb == onCreate {
				f.exclusive(l.flag, l.clear)
			}
		}
		return func(ctx context.Context, r *request) error {
			if len(given.given) == 0 && !*empty {
				return nil
			}
			if r.verb == onList && !l.here {
				return r.filter(ctx, l.key, l.as, given.given)
			}
			if r.verb == onList {
				r.query.Add("fields", l.key)
				r.keep = func(o client.Object) bool {
					return slices.ContainsFunc(o.List(l.key), func(v any) bool { return slices.Contains(given.given, pyrepr.Str(v)) })
				}
				return nil
			}
			values := []any{}
			for _, text := range given.given {
				v, err := l.as.valueOf(ctx, r, text)
				if err != nil {
					return err
				}
				values = append(values, v)
			}
			switch {
			case r.verb == onUnset:
				left, err := l.without(r.current.List(l.key), values, given.given)
				if err != nil {
					return err
				}
				values, r.merged = left, true
			case r.verb == onSet && !*empty && !l.replace:
				values, r.merged = l.with(r.current.List(l.key), values), true
			}
			r.body[l.key] = values
			return nil
		}
	}}
}

// with returns a list with values added that it does not have.
func (l list) with(have, values []any) []any {
	fresh := slices.DeleteFunc(values, func(v any) bool {
		return slices.ContainsFunc(have, func(h any) bool { return matches(h, v) && matches(v, h) })
	})
	if l.front {
		return slices.Concat(fresh, have)
	}
	return slices.Concat(have, fresh)
}

// without returns a list less what matches the values. Each value must match something.
func (l list) without(have, values []any, given []string) ([]any, error) {
	left := []any{}
	matched := make([]bool, len(values))
	for _, h := range have {
		keep := true
		for i, v := range values {
			if matches(h, v) {
				keep, matched[i] = false, true
			}
		}
		if keep {
			left = append(left, h)
		}
	}
	if i := slices.Index(matched, false); i >= 0 {
		return nil, fmt.Errorf("there is no %s %s to remove", l.flag, given[i])
	}
	return left, nil
}

// matches reports whether a value is the wanted one; an object is when it has all that the wanted one has.
func matches(have, want any) bool {
	w, ok := want.(map[string]any)
	if !ok {
		return same(pyrepr.Str(have), pyrepr.Str(want))
	}
	h, ok := have.(map[string]any)
	if !ok {
		return false
	}
	for k, v := range w {
		if !same(pyrepr.Str(h[k]), pyrepr.Str(v)) {
			return false
		}
	}
	return true
}

// same compares texts as the API does: addresses by value, MAC addresses and ids in any case.
func same(a, b string) bool {
	if x, err := netip.ParseAddr(a); err == nil {
		if y, err := netip.ParseAddr(b); err == nil {
			return x == y
		}
	}
	return strings.EqualFold(a, b)
}

// A toggle is a pair of flags for an attribute that is true or false. One of the flags may be
// absent.
type toggle struct {
	key          string
	yes, yesHelp string
	no, noHelp   string
	on           verb
	yesValue     any // nil: true and false
	noValue      any
}

func (t toggle) option() option {
	return option{t.on, func(f *flags) addition {
		yes, no := new(bool), new(bool)
		if t.yes != "" {
			yes = f.yes(t.yes, t.yesHelp)
		}
		if t.no != "" {
			no = f.yes(t.no, t.noHelp)
		}
		f.exclusive(t.yes, t.no)
		return func(_ context.Context, r *request) error {
			var v any
			switch {
			case *yes && t.yesValue != nil:
				v = t.yesValue
			case *no && t.noValue != nil:
				v = t.noValue
			case *yes || *no:
				v = *yes
			default:
				return nil
			}
			if r.verb == onList {
				r.query.Set(t.key, strings.ToLower(pyrepr.Str(v)))
			} else {
				r.body[t.key] = v
			}
			return nil
		}
	}}
}

// A drop is a flag that gives an attribute the value that means none.
type drop struct {
	flag, key, help string
	none            any
	on              verb // zero: unset
}

func (d drop) option() option {
	return option{cmp.Or(d.on, onUnset), func(f *flags) addition {
		given := f.yes(d.flag, d.help)
		return func(_ context.Context, r *request) error {
			if *given {
				r.body[d.key] = d.none
			}
			return nil
		}
	}}
}

// A bag is an option with one attribute that is an object of any keys, given as KEY=VALUE or JSON:
// set adds keys, unset removes them.
type bag struct {
	flag, arg, key, help string
	clear, clearHelp     string
	on                   verb
}

func (b bag) option() option {
	return option{b.on, func(f *flags) addition {
		if f.verb == onUnset {
			given := f.texts(b.flag, "KEY", b.help+": the key (repeat for several)", kind{})
			return func(_ context.Context, r *request) error { return b.remove(r, given.given) }
		}
		given := f.texts(b.flag, b.arg, b.help+" (repeat for several)", kind{check: func(text string) error {
			_, err := parseBag(text)
			return err
		}})
		empty := new(bool)
		if f.verb == onSet {
			empty = f.yes(b.clear, b.clearHelp)
		}
		return func(_ context.Context, r *request) error {
			if len(given.given) == 0 && !*empty {
				return nil
			}
			all := map[string]any{}
			if have, ok := r.current[b.key].(map[string]any); ok && !*empty {
				all, r.merged = maps.Clone(have), true
			}
			for _, text := range given.given {
				more, err := parseBag(text)
				if err != nil {
					return err
				}
				maps.Copy(all, more)
			}
			r.body[b.key] = all
			return nil
		}
	}}
}

func (b bag) remove(r *request, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	have, _ := r.current[b.key].(map[string]any)
	left := maps.Clone(have)
	for _, k := range keys {
		if _, ok := left[k]; !ok {
			return fmt.Errorf("there is no %s %s to remove", b.flag, k)
		}
		delete(left, k)
	}
	r.body[b.key], r.merged = left, true
	return nil
}

// parseBag reads a JSON object or KEY=VALUE.
func parseBag(text string) (map[string]any, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var m map[string]any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&m); err != nil || d.More() {
			return nil, fmt.Errorf("it begins as a JSON object but is none")
		}
		return m, nil
	}
	k, v, ok := strings.Cut(text, "=")
	if !ok || k == "" {
		return nil, fmt.Errorf("want KEY=VALUE or a JSON object")
	}
	return map[string]any{k: v}, nil
}

// options collects the options of a declaration.
func options(all ...interface{ option() option }) []option {
	out := make([]option, len(all))
	for i, o := range all {
		out[i] = o.option()
	}
	return out
}

// option makes a hand-made option fit into options.
func (o option) option() option { return o }
