package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

type options struct {
	dir    string
	port   int
	types  []string
	bridge map[string]string
	pop    bool
}

func flags(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	fs.StringVar(&o.dir, "data-dir", "/default", "")
	fs.IntVar(&o.port, "port", 1, "")
	fs.StringSliceVar(&o.types, "types", []string{"gre"}, "")
	fs.StringToStringVar(&o.bridge, "bridge-mappings", nil, "")
	fs.BoolVar(&o.pop, "l2-population", true, "")
	return fs
}

func apply(t *testing.T, file string, env map[string]string, args ...string) (*options, error) {
	t.Helper()
	o := &options{}
	fs := flags(o)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	path := ""
	if file != "" {
		path = filepath.Join(t.TempDir(), "weft.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o, Apply(fs, path, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
}

func TestApply_commandLineBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	o, err := apply(t, "data_dir: /file\nport: 2\nl2_population: false\n", map[string]string{"WEFT_DATA_DIR": "/env", "WEFT_PORT": "3"}, "--data-dir=/flag")
	if err != nil {
		t.Fatal(err)
	}
	if o.dir != "/flag" || o.port != 3 || o.pop || !slices.Equal(o.types, []string{"gre"}) {
		t.Fatalf("got %+v", o)
	}
}

func TestApply_listsAndMaps(t *testing.T) {
	o, err := apply(t, "types: [vxlan, gre]\nbridge_mappings:\n  physnet1: br-ex\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.types, []string{"vxlan", "gre"}) || o.bridge["physnet1"] != "br-ex" {
		t.Fatalf("got %+v", o)
	}
}

func TestApply_saysWhatIsWrongAndWhere(t *testing.T) {
	for _, c := range []struct{ rule, file, want string }{
		{"an unknown key is refused", "data_dir: /x\nlisten_adress: y\n", `weft.yaml:2: unknown key "listen_adress"`},
		{"a value of the wrong type is refused", "port: many\n", `weft.yaml:1: port: `},
		{"a list where one value belongs is refused", "port: [1, 2]\n", "weft.yaml:1: port: want one value"},
		{"a map where one value belongs is refused", "port: {a: b}\n", "weft.yaml:1: port: want a value"},
		{"a key that stands twice is refused", "port: 1\nport: 2\n", `key "port" stands twice`},
		{"broken YAML is refused", "port: [\n", "weft.yaml: line"},
		{"a file that is no mapping is refused", "- a\n", "want keys and values"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			_, err := apply(t, c.file, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := apply(t, "", map[string]string{"WEFT_PORT": "x"}); err == nil || !strings.Contains(err.Error(), "WEFT_PORT=x") {
		t.Fatalf("environment: %v", err)
	}
}

func TestApply_anEmptyFileIsFine(t *testing.T) {
	if _, err := apply(t, "# nothing\n", nil); err != nil {
		t.Fatal(err)
	}
}
