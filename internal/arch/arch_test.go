package arch

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "weft"

// layers are the floors of the building, lowest first. A package imports only from its own floor or below; within a
// floor only what is listed in sameFloor.
var layers = [][]string{
	{"internal/fault", "internal/run", "internal/obs", "internal/config", "internal/model", "internal/pki", "internal/pyrepr", "internal/arch"},
	{"api/hostpb", "internal/server/journal", "internal/server/journal/etcd", "internal/server/ipam", "internal/server/authn",
		"internal/host/flow", "internal/host/standin", "internal/host/link", "internal/host/iptables/table", "internal/host/ovs/ovsdb", "internal/host/ovs/unixctl", "internal/client"},
	{"internal/server/store", "internal/server/policy", "internal/host/pipeline", "internal/host/firewall", "internal/host/responder",
		"internal/host/services", "internal/host/fair", "internal/host/metadata", "internal/host/dns", "internal/host/ovs/openflow", "internal/host/ovs/vsw", "internal/host/vif"},
	{"internal/server/network", "internal/server/hostview", "internal/host/iptables", "internal/host/router", "internal/host/hoststate"},
	{"internal/server/neutron", "internal/server/dispatch", "internal/host/agent", "internal/lab"},
	{"internal/cli", "internal/labcmd", "internal/host/view"},
	{"internal/hostcmd"},
	{"cmd/weft", "bench", "bench/dataplane", "bench/probe", "bench/benchlab", "bench/apibench", "e2e"},
}

// sameFloor lists imports within a floor that are meant.
var sameFloor = map[string][]string{
	"internal/server/journal/etcd": {"internal/server/journal"},
	"internal/pki":                 {},
	"internal/host/fair":           {"internal/host/responder"},
	"internal/host/metadata":       {"internal/host/fair"},
	"internal/host/dns":            {"internal/host/fair"},
	"internal/host/firewall":       {"internal/host/pipeline"},
	"internal/host/router":         {"internal/host/iptables", "internal/host/hoststate"},
	"bench":                        {"bench/apibench", "bench/benchlab"},
	"bench/dataplane":              {"bench/apibench", "bench/benchlab", "bench/probe"},
	"bench/probe":                  {"bench/benchlab"},
	"bench/benchlab":               {"bench/apibench"},
}

// testkits are for tests: no product code imports them.
const testkits = "internal/testkit/"

// owners says which packages may import a foreign library, and why nobody else.
var owners = []struct {
	library string
	owners  []string
	why     string
}{
	{"go.etcd.io/", []string{"internal/server/journal/etcd"}, "the journal is the only door to etcd: a change of its API or its replacement touches one package"},
	{"go4.org/netipx", []string{"internal/server/ipam"}, "sets of addresses are computed in one place"},
	{"github.com/vishvananda/", []string{"internal/host/link", "internal/host/iptables"}, "links belong to link; iptables uses the same sockets for ipsets and conntrack"},
	{"google.golang.org/grpc", []string{"api/hostpb", "internal/server/dispatch", "internal/host/agent", "internal/server/journal/etcd"}, "the stream between server and host has two ends; etcd's errors are of this kind too"},
	{"google.golang.org/protobuf", []string{"api/hostpb", "internal/server/dispatch", "internal/host/agent"}, "wire types stay on the wire"},
	{"weft/api/hostpb", []string{"internal/server/dispatch", "internal/host/agent"}, "wire types stay on the wire"},
	{"github.com/miekg/dns", []string{"internal/host/dns"}, "names are the host's DNS server's"},
	{"github.com/insomniacslk/dhcp", []string{"internal/host/responder"}, "DHCP is the responder's"},
	{"github.com/spf13/", []string{"cmd/weft", "internal/cli", "internal/labcmd", "internal/hostcmd", "internal/config"}, "commands are on top"},
	{"github.com/prometheus/", []string{"internal/obs", "internal/server/dispatch", "internal/host/agent", "cmd/weft"}, "parts count; obs serves"},
	{"gopkg.in/yaml.v3", []string{"internal/config", "internal/cli"}, "YAML is read for configuration and written by commands"},
}

// pure packages compute: the same input gives the same output.
var pure = []string{
	"internal/model", "internal/server/ipam", "internal/server/hostview", "internal/server/policy", "internal/host/flow", "internal/host/standin", "internal/host/pipeline",
	"internal/host/firewall", "internal/host/iptables/table", "internal/host/hoststate",
}

// impure is what pure packages may not import themselves.
var impure = []string{"context", "os", "os/exec", "net/http", "log/slog", "log", "math/rand", "math/rand/v2", "crypto/rand", "syscall", "io/fs", "sync", "golang.org/x/sys/unix"}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Dir, Doc      string
	GoFiles, TestGoFiles      []string
	Imports                   []string
	TestImports, XTestImports []string
	Standard                  bool
}

func (p pkg) path() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,TestGoFiles,Imports,TestImports,XTestImports", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func floor(path string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, path) })
}

func TestImportsGoDownwards(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.path(), testkits) {
			continue
		}
		at := floor(p.path())
		if at < 0 {
			t.Errorf("%s has no floor: add it to layers, and to docs/ARCHITECTURE.md", p.path())
			continue
		}
		for _, i := range p.Imports {
			path, ours := strings.CutPrefix(i, module+"/")
			if !ours {
				continue
			}
			if strings.HasPrefix(path, testkits) {
				t.Errorf("%s imports %s, which is for tests", p.path(), path)
				continue
			}
			to := floor(path)
			if to > at || to == at && !slices.Contains(sameFloor[p.path()], path) {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports go downwards", p.path(), at, path, to)
			}
		}
	}
}

func TestServerAndHostNeverMeet(t *testing.T) {
	for _, p := range packages(t) {
		for _, i := range p.Imports {
			server, host := "internal/server/", "internal/host/"
			path := strings.TrimPrefix(i, module+"/")
			if strings.HasPrefix(p.path(), server) && strings.HasPrefix(path, host) || strings.HasPrefix(p.path(), host) && strings.HasPrefix(path, server) {
				t.Errorf("%s imports %s: server and host share the foundation and the stream, so that each can be understood, tested and released alone", p.path(), path)
			}
		}
	}
}

func TestForeignLibrariesHaveOneOwner(t *testing.T) {
	for _, p := range packages(t) {
		if strings.HasPrefix(p.path(), testkits) || p.path() == "bench" {
			continue
		}
		for _, i := range p.Imports {
			for _, o := range owners {
				if strings.HasPrefix(i, o.library) && !slices.Contains(o.owners, p.path()) {
					t.Errorf("%s imports %s, which belongs to %v: %s", p.path(), i, o.owners, o.why)
				}
			}
		}
	}
}

func TestPurePackagesDoNothing(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.path()) {
			continue
		}
		for _, i := range p.Imports {
			if slices.Contains(impure, i) {
				t.Errorf("%s is pure but imports %s", p.path(), i)
			}
		}
		eachFile(t, p, func(name string, f *ast.File) {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "After", "Sleep", "Tick"}, s.Sel.Name) {
						t.Errorf("%s: a pure package asks the clock: time.%s", name, s.Sel.Name)
					}
				}
				return true
			})
		})
	}
}

// eachFile parses the files of a package, without its tests and without generated ones.
func eachFile(t *testing.T, p pkg, visit func(name string, f *ast.File)) {
	t.Helper()
	fset := token.NewFileSet()
	for _, name := range p.GoFiles {
		if strings.HasSuffix(name, ".pb.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		visit(filepath.Join(p.path(), name), f)
		checkSizes(t, fset, filepath.Join(p.path(), name), f)
	}
}

// Ceilings. They are not goals: what comes near one is to be cut in two.
const (
	maxFileLines     = 700
	maxFunctionLines = 140
)

func checkSizes(t *testing.T, fset *token.FileSet, name string, f *ast.File) {
	t.Helper()
	if n := fset.Position(f.FileEnd).Line; n > maxFileLines {
		t.Errorf("%s has %d lines, at most %d: a file holds one thing", name, n, maxFileLines)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line; n > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, at most %d: a function is seen at once", name, fn.Name.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests alone
		}
		if len(p.Doc) < 30 {
			t.Errorf("%s has no package comment", p.path())
		}
		for _, banned := range []string{"util", "utils", "common", "helpers", "helper", "misc"} {
			if filepath.Base(p.path()) == banned {
				t.Errorf("%s: a package is named by what it provides", p.path())
			}
		}
	}
}

func TestNoInitFunctionsAndNoChangingGlobals(t *testing.T) {
	for _, p := range packages(t) {
		globals, specs := map[string]bool{}, map[any]bool{}
		var files []*ast.File
		names := map[*ast.File]string{}
		eachFile(t, p, func(name string, f *ast.File) {
			files, names[f] = append(files, f), name
			for _, d := range f.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Name.Name == "init" && d.Recv == nil {
						t.Errorf("%s: an init function: importing a package must do nothing", name)
					}
				case *ast.GenDecl:
					for _, s := range d.Specs {
						if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
							specs[v] = true
							for _, n := range v.Names {
								globals[n.Name] = true
							}
						}
					}
				}
			}
		})
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				a, ok := n.(*ast.AssignStmt)
				if !ok || a.Tok == token.DEFINE {
					return true
				}
				for _, l := range a.Lhs {
					if id, ok := root(l).(*ast.Ident); ok && globals[id.Name] && (id.Obj == nil || specs[id.Obj.Decl]) {
						t.Errorf("%s: package variable %s is changed: state belongs to a value that somebody owns", names[f], id.Name)
					}
				}
				return true
			})
		}
	}
}

// root is the variable that an assignment changes: x of x, x.f, x[i].
func root(e ast.Expr) ast.Expr {
	for {
		switch v := e.(type) {
		case *ast.SelectorExpr:
			e = v.X
		case *ast.IndexExpr:
			e = v.X
		default:
			return e
		}
	}
}

func TestTheProjectSpeaksOfTheProjectAlone(t *testing.T) {
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(strings.TrimSpace(string(root)))
	parent := filepath.Dir(dir) + "/"
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > 1<<20 {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if parent != "//" && len(parent) > 5 && strings.Contains(string(b), parent) {
			t.Errorf("%s bears a path of the machine it was made on", strings.TrimPrefix(path, dir))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
