package ovsdb

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// zooSchema has one column of every shape of type, and references.
const zooSchema = `{"name":"Zoo","version":"1.0.0","tables":{
 "Animal":{"isRoot":true,"indexes":[["name"]],"columns":{
  "name":{"type":"string"},
  "legs":{"type":"integer"},
  "weight":{"type":"real"},
  "tame":{"type":"boolean"},
  "opt_int":{"type":{"key":{"type":"integer","minInteger":-5,"maxInteger":4095},"min":0,"max":1}},
  "opt_str":{"type":{"key":"string","min":0,"max":1}},
  "ints":{"type":{"key":"integer","min":0,"max":"unlimited"}},
  "reals":{"type":{"key":"real","min":0,"max":4}},
  "colours":{"type":{"key":"string","min":1,"max":"unlimited"}},
  "labels":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}},
  "counts":{"type":{"key":"integer","value":"integer","min":0,"max":"unlimited"}},
  "one_pair":{"type":{"key":"string","value":"boolean","min":0,"max":1}},
  "keepers":{"type":{"key":{"type":"uuid","refTable":"Keeper","refType":"strong"},"min":0,"max":"unlimited"}},
  "friends":{"type":{"key":{"type":"uuid","refTable":"Animal","refType":"weak"},"min":0,"max":"unlimited"}}}},
 "Keeper":{"columns":{
  "name":{"type":"string"},
  "seen":{"type":{"key":"string","value":{"type":"uuid","refTable":"Animal","refType":"weak"},"min":0,"max":"unlimited"}}}}}}`

var zooMonitors = []Monitor{
	{Table: "Animal", Columns: []string{"name", "legs", "weight", "tame", "opt_int", "opt_str", "ints", "reals",
		"colours", "labels", "one_pair", "keepers", "friends"}, Quiet: []string{"counts"}},
	{Table: "Keeper", Columns: []string{"name", "seen"}},
}

// server is a private ovsdb-server on a database of its own.
type server struct {
	dir  string
	addr string // unix:PATH
	cmd  *exec.Cmd
}

// run executes a tool of Open vSwitch and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}

// startServer runs ovsdb-server with zooSchema. A clustered database (of one
// member) remembers its transactions, a standalone one does not.
func startServer(t testing.TB, clustered bool) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "wovs") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{dir: dir, addr: "unix:" + filepath.Join(dir, "db.sock")}
	schema := filepath.Join(dir, "schema")
	if err := os.WriteFile(schema, []byte(zooSchema), 0o600); err != nil {
		t.Fatal(err)
	}
	if clustered {
		run(t, "ovsdb-tool", "create-cluster", s.path("db"), schema, "unix:"+s.path("raft"))
	} else {
		run(t, "ovsdb-tool", "create", s.path("db"), schema)
	}
	s.start(t)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command("ovsdb-server", "--remote=p"+s.addr, "--unixctl="+s.path("ctl"), "--no-chdir",
		"--log-file="+s.path("log"), "-vconsole:off", s.path("db"))
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitSocket(t, s.path("db.sock"))
}

// awaitSocket returns once something accepts connections at path.
func awaitSocket(t testing.TB, path string) {
	t.Helper()
	timeout, tick := time.After(20*time.Second), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for {
		if nc, err := net.Dial("unix", path); err == nil {
			nc.Close()
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("nothing listens at %s", path)
		}
	}
}

func (s *server) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	s.cmd = nil
}

// startClient runs a client until the test ends.
func startClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	cfg.Database, cfg.Monitors = "Zoo", zooMonitors
	c := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.Logf("%s", p)
	return len(p), nil
}

// waitFor waits for a snapshot that satisfies ok.
func waitFor(t testing.TB, c *Client, what string, ok func(*Snapshot) bool) *Snapshot {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		changed := c.Changed()
		if s := c.Snapshot(); ok(s) {
			return s
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func connected(epoch uint64) func(*Snapshot) bool {
	return func(s *Snapshot) bool { return s.Connected && s.Epoch >= epoch }
}

// cutter forwards connections to a server and can cut them.
type cutter struct {
	target string // path of a unix socket
	mu     sync.Mutex
	open   []net.Conn
	wg     sync.WaitGroup
}

func (p *cutter) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	far, err := d.DialContext(ctx, "unix", p.target)
	if err != nil {
		return nil, err
	}
	near, mine := net.Pipe()
	p.mu.Lock()
	p.open = append(p.open, far, mine)
	p.mu.Unlock()
	for _, way := range [][2]net.Conn{{far, mine}, {mine, far}} {
		p.wg.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			far.Close()
			mine.Close()
		})
	}
	return near, nil
}

// cut breaks all connections.
func (p *cutter) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

// dump reads a table by ovsdb-client, as the independent witness: row -> column -> value.
func dump(t testing.TB, s *server, table string, schema TableSchema) map[UUID]Values {
	t.Helper()
	var wire struct {
		Headings []string
		Data     [][]json.RawMessage
	}
	if err := json.Unmarshal([]byte(run(t, "ovsdb-client", "--format=json", "dump", s.addr, "Zoo", table)), &wire); err != nil {
		t.Fatal(err)
	}
	out := make(map[UUID]Values)
	for _, line := range wire.Data {
		row := make(map[string]any)
		for i, h := range wire.Headings {
			row[h] = decodeAny(t, line[i])
		}
		rows, err := decodeRows([]map[string]any{row}, schema)
		if err != nil {
			t.Fatal(err)
		}
		out[UUID(rows[0]["_uuid"].Str())] = rows[0]
	}
	return out
}
