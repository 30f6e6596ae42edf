package cli

import (
	"context"
	"slices"
	"strings"
)

// tags are the options of resources that have tags. They are no attribute: a request of their
// own sets them.
func tags() option {
	return option{onCreate | onSet | onUnset | onList, func(f *flags) addition {
		f.group = groupTags
		switch f.verb {
		case onList:
			return tagFilters(f)
		case onUnset:
			given, all := f.texts("tag", "TAG", "tag to remove (repeat for several)", kind{}), f.yes("all-tag", "remove all tags")
			f.exclusive("tag", "all-tag")
			return func(_ context.Context, r *request) error {
				switch {
				case *all:
					r.tags = func() []string { return nil }
				case len(given.given) > 0:
					r.tags = func() []string {
						return slices.DeleteFunc(texts(r.current["tags"]), func(t string) bool { return slices.Contains(given.given, t) })
					}
				}
				return nil
			}
		}
		given := f.texts("tag", "TAG", "tag to add (repeat for several)", kind{})
		var none *bool
		if f.verb == onCreate {
			none = f.yes("no-tag", "no tags (default)")
			f.exclusive("tag", "no-tag")
		} else {
			none = f.yes("no-tag", "remove all tags; with --tag, those given replace them")
		}
		return func(_ context.Context, r *request) error {
			if len(given.given) == 0 && (!*none || r.verb == onCreate) {
				return nil
			}
			r.tags = func() []string {
				var all []string
				if !*none {
					all = texts(r.current["tags"])
				}
				for _, t := range given.given {
					if !slices.Contains(all, t) {
						all = append(all, t)
					}
				}
				return all
			}
			return nil
		}
	}}
}

// tagFilters are the four filters by tags (Networking API reference, "Filtering with tags").
func tagFilters(f *flags) addition {
	filters := []struct {
		flag, key, help string
		given           *texted
	}{
		{flag: "tags", key: "tags", help: "all of these tags"},
		{flag: "any-tags", key: "tags-any", help: "any of these tags"},
		{flag: "not-tags", key: "not-tags", help: "not all of these tags"},
		{flag: "not-any-tags", key: "not-tags-any", help: "none of these tags"},
	}
	f.group = groupFilters
	for i := range filters {
		filters[i].given = f.texts(filters[i].flag, "TAG[,TAG…]", filters[i].help, kind{})
	}
	return func(_ context.Context, r *request) error {
		for _, x := range filters {
			if len(x.given.given) > 0 {
				r.query.Set(x.key, strings.Join(x.given.given, ","))
			}
		}
		return nil
	}
}
