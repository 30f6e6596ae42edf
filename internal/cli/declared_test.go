package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"weft/internal/client"
	"weft/internal/testkit/golden"
)

// leaves visits the commands that do something, with the words that call them.
func leaves(cmd *cobra.Command, words []string, visit func(words []string, cmd *cobra.Command)) {
	if len(cmd.Commands()) == 0 {
		visit(words, cmd)
	}
	for _, c := range cmd.Commands() {
		if c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		leaves(c, append(slices.Clone(words), c.Name()), visit)
	}
}

func TestEveryCommandIsThere(t *testing.T) {
	var got []string
	leaves(root(Options{}), nil, func(words []string, _ *cobra.Command) { got = append(got, strings.Join(words, " ")) })
	golden.Check(t, "testdata/commands.txt", strings.Join(got, "\n")+"\n")
}

// TestEveryCommandExplainsItself: a command has a line, a text, examples that its own flags
// accept, and every flag has a group and a text.
func TestEveryCommandExplainsItself(t *testing.T) {
	leaves(root(Options{}), nil, func(name []string, cmd *cobra.Command) {
		path := strings.Join(name, " ")
		if text := strings.Join(strings.Fields(cmd.Long), " "); cmd.Short == "" || !strings.HasPrefix(text, cmd.Short+". ") || !strings.HasSuffix(text, ".") {
			t.Errorf("%s: short %q, long %q", path, cmd.Short, cmd.Long)
		}
		for line := range strings.Lines(cmd.Long) {
			if width(strings.TrimSpace(line)) > helpWidth {
				t.Errorf("%s: a line of help has more than %d characters: %s", path, helpWidth, line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if len(f.Annotations[groupKey]) != 1 || !slices.Contains(groups(), f.Annotations[groupKey][0]) || f.Usage == "" {
				t.Errorf("%s --%s: group %v, text %q", path, f.Name, f.Annotations[groupKey], f.Usage)
			}
		})
		lines := strings.Split(strings.ReplaceAll(cmd.Example, "\\\n", ""), "\n")
		if cmd.Example == "" {
			t.Errorf("%s: no example", path)
			return
		}
		for _, line := range lines {
			args, ok := strings.CutPrefix(line, "  weft "+path)
			if !ok {
				t.Errorf("%s: the example is of something else: %s", path, line)
				continue
			}
			fresh := find(t, path) // flags keep what they were given
			if err := fresh.ParseFlags(words(t, args)); err != nil {
				t.Errorf("%s: %v", line, err)
			} else if err := fresh.Args(fresh, fresh.Flags().Args()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	})
}

func find(t *testing.T, path string) *cobra.Command {
	t.Helper()
	cmd, rest, err := root(Options{}).Find(strings.Fields(path))
	if err != nil || len(rest) > 0 {
		t.Fatal(path, rest, err)
	}
	return cmd
}

func TestHelp(t *testing.T) {
	s := newShell(t)
	golden.Check(t, "testdata/help-port-set.txt", s.ok(t, "port set --help"))
	golden.Check(t, "testdata/help-network-list.txt", s.ok(t, "network list -h"))
	if len(s.reads)+len(s.requests) > 0 {
		t.Error("help asks the server")
	}
}

// TestDeclaredAttributesAreServed: a column whose attribute the server does not have would be
// empty for ever. Those of extensions that are not served (yet) are listed.
func TestDeclaredAttributesAreServed(t *testing.T) {
	absent := map[string]string{
		"network.vlan_transparent": "extension vlan-transparent",
		"network.segments":         "of networks with several segments alone",
		"port.trunk_details":       "extension trunk",
	}
	s := newShell(t)
	s.addHosts(t)
	s.ok(t, "network create n")
	s.ok(t, "subnet create --network n --subnet-range 10.0.0.0/24 s")
	s.ok(t, "port create --network n p")
	addFloating(t, s)
	addPool(t, s)
	s.ok(t, "router create r")
	s.ok(t, "address group create --address 192.0.2.1 a")
	api, err := client.New(client.Options{URL: s.url})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources() {
		var o client.Object
		for found, err := range api.List(context.Background(), r.Resource, nil) {
			if err != nil {
				t.Fatal(err)
			}
			o = found
			break
		}
		for _, c := range append(slices.Clone(r.columns), r.fields...) {
			for _, k := range c.reads() {
				at := r.Name + "." + k
				_, served := o[k]
				_, known := absent[at]
				if k == "" && c.value != nil {
					continue // a field, for which nothing is selected
				}
				if !served && !known {
					t.Errorf("%s: column %s is declared, and the server has no such attribute", at, c.head)
				}
				if served && known {
					t.Errorf("%s is served: it is no longer absent", at)
				}
			}
		}
	}
}

// addFloating makes a floating IP.
func addFloating(t *testing.T, s *shell) {
	t.Helper()
	s.ok(t, "network create --external ext")
	s.ok(t, "subnet create --network ext --subnet-range 172.25.0.0/24 --no-dhcp ext")
	s.ok(t, "floating ip create --floating-ip-address 172.25.0.50 ext")
}

// addPool makes an address scope and a subnet pool in it.
func addPool(t *testing.T, s *shell) {
	t.Helper()
	s.ok(t, "address scope create as")
	s.ok(t, "subnet pool create --pool-prefix 10.64.0.0/12 --address-scope as sp")
}

// TestFiltersAreServed: the server knows every filter that a list can send.
func TestFiltersAreServed(t *testing.T) {
	s := newShell(t)
	s.ok(t, "network create n")
	addFloating(t, s)
	addPool(t, s)
	s.ok(t, "subnet create --network n --subnet-range 10.9.0.0/24 --service-type compute:nova --service-type network:dhcp of-both")
	s.ok(t, "subnet create --network n --subnet-range 10.9.1.0/24 --service-type network:dhcp of-dhcp")
	if got := s.ok(t, "subnet list --service-type compute:nova --service-type compute:x -c Name -f value"); got != "of-both\n" {
		t.Errorf("subnets for compute:nova or compute:x: %q", got)
	}
	leaves(root(Options{}), nil, func(name []string, cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !slices.Contains(f.Annotations[groupKey], groupFilters) {
				return
			}
			args := append(slices.Clone(name), "--"+f.Name)
			if slices.Contains(name, "forwarding") {
				args = append(slices.Clone(name), "172.25.0.50", "--"+f.Name)
			}
			if given, ok := f.Value.(*texted); ok {
				value := map[string]string{"NETWORK": "n", "POOL": "sp", "SCOPE": "as", "GROUP": "default", "VERSION": "4", "NUMBER": "7",
					"subnet=SUBNET,ip-address=ADDRESS,ip-substring=TEXT": "ip-address=10.0.0.1,ip-substring=10"}[given.arg]
				if value == "" {
					value = "x"
				}
				if len(given.as.choices) > 0 {
					value = given.as.choices[0]
				}
				args = append(args, value)
			}
			if _, err, code := s.run(args...); code != 0 {
				t.Errorf("weft %s: %s", strings.Join(args, " "), err)
			}
		})
	})
}

func TestNoTwoColumnsHaveOneName(t *testing.T) {
	for _, r := range resources() {
		for _, columns := range [][]column{r.columns, r.fields} {
			seen := map[string]bool{}
			for _, c := range columns {
				if low := strings.ToLower(c.head); seen[low] {
					t.Errorf("%s: column %s stands twice", r.Name, c.head)
				} else {
					seen[low] = true
				}
			}
		}
	}
}
