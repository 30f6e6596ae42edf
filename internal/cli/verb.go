package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"weft/internal/client"
	"weft/internal/pyrepr"
)

// command starts a command of a resource, with its flags.
func (a app) command(r resource, v verb, use, short string) (*cobra.Command, *flags, addition) {
	cmd := &cobra.Command{Use: use, Short: short}
	f := &flags{cmd: cmd, verb: v}
	add := bind(f, r.options)
	return cmd, f, add
}

func (a app) create(r resource) *cobra.Command {
	by := r.create
	if by.arg == "" {
		by = operand{arg: "NAME", key: "name"}
	}
	cmd, f, add := a.command(r, onCreate, "create "+by.arg, "Create "+r.said())
	out := outputFlags(f, false)
	a.finish(f, arguments(1, 1, by.arg), by.as.names, func(ctx context.Context, api *client.Client, args []string) error {
		q := &request{api: api, verb: onCreate, body: client.Object{}}
		if err := by.apply(ctx, q, args[0]); err != nil {
			return err
		}
		if err := add(ctx, q); err != nil {
			return err
		}
		if r.finish != nil {
			if err := r.finish(ctx, q); err != nil {
				return err
			}
		}
		if _, err := out.pick(r.fields); err != nil {
			return err
		}
		made, err := api.Create(ctx, r.Resource, q.body)
		if err != nil {
			return err
		}
		if q.tags != nil {
			// The API has no tags in a create. An object without them is better than none.
			tags := q.tags()
			if err := api.SetTags(ctx, r.Resource, made.ID(), tags); err != nil {
				return fmt.Errorf("%s %s is made, but without its tags: %w", r.Words(), made.ID(), err)
			}
			made["tags"] = anys(tags)
		}
		return out.object(cmd.OutOrStdout(), r.fields, made)
	})
	return cmd
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = t
	}
	return out
}

func (a app) show(r resource) *cobra.Command {
	cmd, f, _ := a.command(r, onShow, "show "+r.arg, "Show "+r.said())
	out := outputFlags(f, false)
	a.finish(f, arguments(1, 1, r.arg), &r.Resource, func(ctx context.Context, api *client.Client, args []string) error {
		o, err := api.Find(ctx, r.Resource, args[0])
		if err != nil {
			return err
		}
		return out.object(cmd.OutOrStdout(), r.fields, o)
	})
	return cmd
}

func (a app) list(r resource) *cobra.Command {
	use, most := "list", 0
	if r.list.arg != "" {
		use, most = "list ["+r.list.arg+"]", 1
	}
	cmd, f, add := a.command(r, onList, use, "List "+r.plural)
	pages := pageFlags(f)
	out := outputFlags(f, true)
	long := new(bool)
	if slices.ContainsFunc(r.columns, func(c column) bool { return c.long }) {
		long = f.yes("long", "further columns")
	}
	a.finish(f, arguments(0, most, r.list.arg), r.list.as.names, func(ctx context.Context, api *client.Client, args []string) error {
		q := &request{api: api, verb: onList, query: url.Values{}}
		if err := add(ctx, q); err != nil {
			return err
		}
		for _, text := range args {
			if err := r.list.apply(ctx, q, text); err != nil {
				return err
			}
		}
		columns := slices.DeleteFunc(slices.Clone(r.columns), func(c column) bool {
			return c.long && !*long || c.when != nil && !c.when(args)
		})
		if _, err := out.pick(columns); err != nil {
			return err
		}
		for _, c := range columns { // the server sends no more than is shown
			for _, k := range c.reads() {
				if !slices.Contains(q.query["fields"], k) {
					q.query.Add("fields", k)
				}
			}
		}
		objects, err := pages.read(ctx, api, r.Resource, q)
		if err != nil {
			return err
		}
		return out.rows(cmd.OutOrStdout(), columns, objects)
	})
	return cmd
}

// paging is the flags of a list that comes in pages.
type paging struct{ limit, marker, items *texted }

func pageFlags(f *flags) paging {
	f.group = groupPages
	count := number(1, 1<<30)
	return paging{
		limit:  f.text("limit", "NUMBER", "objects in one page; all pages are read (also --page-size)", count),
		marker: f.text("marker", "ID", "begin after this object", kind{}),
		items:  f.text("max-items", "NUMBER", "objects in all", count),
	}
}

// read reads the pages of a list.
func (p paging) read(ctx context.Context, api *client.Client, r client.Resource, q *request) ([]client.Object, error) {
	query := q.query
	most := 0
	if text := p.items.last(); text != "" {
		most, _ = strconv.Atoi(text) // checked by its kind
		query.Set("limit", text)
	}
	if text := p.limit.last(); text != "" {
		query.Set("limit", text)
	}
	if text := p.marker.last(); text != "" {
		query.Set("marker", text)
	}
	var objects []client.Object
	for o, err := range api.List(ctx, r, query) {
		if err != nil {
			return nil, err
		}
		if q.keep != nil && !q.keep(o) {
			continue
		}
		if objects = append(objects, o); len(objects) == most {
			break
		}
	}
	return objects, nil
}

func (a app) set(r resource) *cobra.Command {
	return a.change(r, onSet, "set", "Change attributes of "+r.said(), groupAttributes)
}

func (a app) unset(r resource) *cobra.Command {
	return a.change(r, onUnset, "unset", "Remove attributes of "+r.said(), groupRemove)
}

// attempts is how often a change is tried when others change the same object meanwhile.
const attempts = 5

// change is set and unset: they differ in the options they have, and in what those do.
func (a app) change(r resource, v verb, name, short, group string) *cobra.Command {
	cmd, f, add := a.command(r, v, name+" "+r.arg, short)
	f.something(group, groupTags)
	a.finish(f, arguments(1, 1, r.arg), &r.Resource, func(ctx context.Context, api *client.Client, args []string) error {
		current, err := api.Find(ctx, r.Resource, args[0])
		if err != nil {
			return err
		}
		var q *request
		for try := 1; ; try++ {
			q = &request{api: api, verb: v, body: client.Object{}, current: current}
			if err := add(ctx, q); err != nil {
				return err
			}
			if len(q.body) == 0 {
				break
			}
			revision := ""
			if q.merged {
				revision = pyrepr.Str(current["revision_number"])
			}
			_, err := api.Update(ctx, r.Resource, current.ID(), q.body, revision)
			if err == nil {
				break
			}
			if !q.merged || client.Status(err) != http.StatusPreconditionFailed || try == attempts {
				return err
			}
			if current, err = api.Get(ctx, r.Resource, current.ID()); err != nil {
				return err
			}
		}
		if q.tags == nil {
			return nil
		}
		return api.SetTags(ctx, r.Resource, current.ID(), q.tags())
	})
	return cmd
}

func (a app) delete(r resource) *cobra.Command {
	cmd, f, _ := a.command(r, onDelete, "delete "+r.arg+"…", "Delete "+r.plural)
	a.finish(f, arguments(1, -1, r.arg), &r.Resource, func(ctx context.Context, api *client.Client, args []string) error {
		failed := 0
		for _, ref := range args {
			err := remove(ctx, api, r.Resource, ref)
			if err == nil {
				continue
			}
			var gone *client.Unreachable
			if len(args) == 1 || errors.As(err, &gone) || ctx.Err() != nil {
				return err
			}
			failed++
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %s: %s\n", r.Words(), ref, printable(err.Error()))
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d %s could not be deleted", failed, len(args), r.plural)
		}
		return nil
	})
	return cmd
}

func remove(ctx context.Context, api *client.Client, r client.Resource, ref string) error {
	o, err := api.Find(ctx, r, ref)
	if err != nil {
		return err
	}
	return api.Delete(ctx, r, o.ID())
}
