package neutron

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"weft/internal/fault"
	"weft/internal/pyrepr"
)

// param is one name=value of a query, in the order of the request.
type param struct{ name, value string }

// query is a list request's query string, taken apart but not yet understood:
// which filters and sort keys there are is the resource's business.
type query struct {
	params   []param // all, as they came: links to pages repeat them
	fields   []string
	sortKeys []string
	sortDirs []bool // true: descending
	limit    int    // 0: none
	marker   string
	reverse  bool
	filters  []filterParam
}

// filterParam is one filter with all its values: any of them may match.
type filterParam struct {
	name   string
	values []string
}

// maxParams bounds the work that one query can ask for. Nova sends a hundred
// ids in one request; nobody sends ten thousand.
const maxParams = 10_000

// parseParams splits a query string. Unlike url.ParseQuery it keeps the order,
// and takes what cannot be unescaped as it is, as the peer does.
func parseParams(raw string) ([]param, error) {
	if raw == "" {
		return nil, nil
	}
	if strings.Count(raw, "&") >= maxParams {
		return nil, badRequest("The query has more than %d parameters", maxParams)
	}
	var out []param
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		out = append(out, param{unescape(name), unescape(value)})
	}
	return out, nil
}

func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// parseQuery understands everything but filters and the names of sort keys.
func parseQuery(raw string) (*query, error) {
	params, err := parseParams(raw)
	if err != nil {
		return nil, err
	}
	q := &query{params: params}
	var dirs []string
	for _, p := range params {
		switch p.name {
		case "fields":
			if p.value != "" {
				q.fields = append(q.fields, p.value)
			}
		case "sort_key":
			q.sortKeys = append(q.sortKeys, p.value)
		case "sort_dir":
			dirs = append(dirs, p.value)
		case "limit":
			n, err := strconv.ParseUint(p.value, 10, 31)
			if err != nil {
				return nil, fault.New(fault.Invalid, "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and not '%s'.", p.value)
			}
			q.limit = int(n)
		case "marker":
			q.marker = p.value
		case "page_reverse":
			q.reverse = strings.EqualFold(p.value, "true") || p.value == "1"
		default:
			q.addFilter(p)
		}
	}
	if len(q.sortKeys) != len(dirs) {
		return nil, badRequest("The number of sort_keys and sort_dirs must be same")
	}
	var bad []any
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			bad = append(bad, d)
		}
		q.sortDirs = append(q.sortDirs, d == "desc")
	}
	if bad != nil {
		return nil, badRequest("%s is invalid value for sort_dirs, valid value is 'asc' and 'desc'", pyrepr.Of(bad))
	}
	return q, nil
}

func (q *query) addFilter(p param) {
	for i := range q.filters {
		if q.filters[i].name == p.name {
			q.filters[i].values = append(q.filters[i].values, p.value)
			return
		}
	}
	q.filters = append(q.filters, filterParam{p.name, []string{p.value}})
}

// appendLinks appends the `,"ports_links":[…]` of a page. first and last are the
// ids at its ends, empty when the page is. A page that is not full has no
// neighbour in the direction of walking.
func (q *query) appendLinks(b []byte, collection, base, first, last string, count int) []byte {
	if q.limit == 0 {
		return b
	}
	full := count >= q.limit
	var links []byte
	add := func(rel, marker string, reverse bool) {
		if links != nil {
			links = append(links, ',')
		}
		links = append(links, `{"rel":"`...)
		links = append(links, rel...)
		links = append(links, `","href":`...)
		links = appendString(links, base+"?"+q.pageQuery(marker, reverse))
		links = append(links, '}')
	}
	if full || q.reverse {
		add("next", last, false)
	}
	if full || !q.reverse {
		add("previous", first, true)
	}
	b = append(b, `,"`...)
	b = append(b, collection...)
	b = append(b, `_links":[`...)
	b = append(b, links...)
	return append(b, ']')
}

func (q *query) pageQuery(marker string, reverse bool) string {
	var b strings.Builder
	add := func(name, value string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name))
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(value))
	}
	for _, p := range q.params {
		if p.name != "marker" && p.name != "page_reverse" {
			add(p.name, p.value)
		}
	}
	if marker != "" {
		add("marker", marker)
	}
	if reverse {
		add("page_reverse", "True")
	}
	return b.String()
}

// tagFilter is the four tag filters of a query (Neutron API reference, "Tag
// filters"): each is a comma separated list.
type tagFilter struct {
	all, some, notAll, notSome []string
}

// add takes a filter when it is one of the four.
func (f *tagFilter) add(p filterParam) bool {
	var dst *[]string
	switch p.name {
	case "tags":
		dst = &f.all
	case "tags-any":
		dst = &f.some
	case "not-tags":
		dst = &f.notAll
	case "not-tags-any":
		dst = &f.notSome
	default:
		return false
	}
	for _, v := range p.values {
		*dst = append(*dst, strings.Split(v, ",")...)
	}
	return true
}

// matches reports whether an object with these tags, sorted, passes.
func (f *tagFilter) matches(tags []string) bool {
	has := func(t string) bool { _, ok := slices.BinarySearch(tags, t); return ok }
	hasAll := func(want []string) bool { return !slices.ContainsFunc(want, func(t string) bool { return !has(t) }) }
	hasSome := func(want []string) bool { return slices.ContainsFunc(want, has) }
	return hasAll(f.all) &&
		(f.some == nil || hasSome(f.some)) &&
		(f.notAll == nil || !hasAll(f.notAll)) &&
		(f.notSome == nil || !hasSome(f.notSome))
}

// parseChangedSince reads the time of a changed_since filter.
func parseChangedSince(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05-0700", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalidInput("'%s' is not a time as changed_since needs it: YYYY-MM-DDTHH:MM:SS.", s)
}
