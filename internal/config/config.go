// Package config fills the flags of a command from a YAML file and the environment,
// so that each option is declared once, as a flag.
//
// Precedence: command line, then environment (WEFT_DATA_DIR for --data-dir), then
// file (data_dir), then the default. A key that no flag has is an error.
// Called by the main package.
package config

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// Apply sets the flags that the command line left alone. File may be "", for none.
// Flags in skip have no key in file or environment.
func Apply(flags *pflag.FlagSet, file string, env func(string) (string, bool), skip ...string) error {
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	values := map[string]*yaml.Node{}
	if file != "" {
		var err error
		if values, err = read(file); err != nil {
			return err
		}
	}
	var errs []string
	flags.VisitAll(func(f *pflag.Flag) {
		if slices.Contains(skip, f.Name) || f.Name == "help" {
			return
		}
		key := strings.ReplaceAll(f.Name, "-", "_")
		node := values[key]
		delete(values, key)
		if given[f.Name] {
			return
		}
		if v, ok := env("WEFT_" + strings.ToUpper(key)); ok {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Sprintf("environment: WEFT_%s=%s: %v", strings.ToUpper(key), v, err))
			}
			return
		}
		if node == nil {
			return
		}
		if err := set(f, node); err != nil {
			errs = append(errs, fmt.Sprintf("%s:%d: %s: %v", file, node.Line, key, err))
		}
	})
	for key, node := range values {
		errs = append(errs, fmt.Sprintf("%s:%d: unknown key %q", file, node.Line, key))
	}
	if len(errs) > 0 {
		slices.Sort(errs)
		return fmt.Errorf("%s", strings.Join(errs, "\n"))
	}
	return nil
}

// read returns the top-level keys of a YAML file.
func read(file string) (map[string]*yaml.Node, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the config file: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	out := map[string]*yaml.Node{}
	if len(doc.Content) == 0 {
		return out, nil // an empty file
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want keys and values", file, top.Line)
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		k, v := top.Content[i], top.Content[i+1]
		if out[k.Value] != nil {
			return nil, fmt.Errorf("%s:%d: key %q stands twice", file, k.Line, k.Value)
		}
		out[k.Value] = v
	}
	return out, nil
}

// set gives a flag the value of a node: a scalar, a list for flags that take
// several, a map for flags that take key=value.
func set(f *pflag.Flag, n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		return f.Value.Set(n.Value)
	case yaml.SequenceNode:
		list, ok := f.Value.(pflag.SliceValue)
		if !ok {
			return fmt.Errorf("want one value, not a list")
		}
		var values []string
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode {
				return fmt.Errorf("line %d: want a plain value", c.Line)
			}
			values = append(values, c.Value)
		}
		return list.Replace(values)
	case yaml.MappingNode:
		if f.Value.Type() != "stringToString" {
			return fmt.Errorf("want a value, not keys and values")
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := f.Value.Set(n.Content[i].Value + "=" + n.Content[i+1].Value); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("want a plain value")
}
