package flow

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// lines returns the flows of a file.
func lines(t testing.TB, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out []string
	for s := bufio.NewScanner(file); s.Scan(); {
		if line := strings.TrimSpace(s.Text()); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// ofctl returns what ovs-ofctl understands of flows, one line for each.
func ofctl(t *testing.T, flows []string) []string {
	t.Helper()
	cmd := exec.Command("ovs-ofctl", "-O", "OpenFlow14", "parse-flows", "-")
	cmd.Stdin = strings.NewReader(strings.Join(flows, "\n"))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ovs-ofctl parse-flows: %v\n%s", err, errs.String())
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "FLOW_MOD") {
			got = append(got, afterColon.ReplaceAllString(strings.TrimSpace(line), ""))
		}
	}
	if len(got) != len(flows) {
		t.Fatalf("ovs-ofctl read %d of %d flows", len(got), len(flows))
	}
	return got
}

var afterColon = regexp.MustCompile(`^.*FLOW_MOD[^:]*: `)

func TestOvsOfctlReadsOurTextAsTheOriginal(t *testing.T) {
	var original, ours []string
	for _, line := range lines(t, "testdata/shapes.txt") {
		f, err := Parse(line)
		if err != nil {
			t.Error(err)
			continue
		}
		original, ours = append(original, line), append(ours, f.String())
	}
	want, got := ofctl(t, original), ofctl(t, ours)
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s\n ours %s\n got  %s\n want %s", original[i], ours[i], got[i], want[i])
		}
	}
}

var (
	portName = regexp.MustCompile(`"[^"]+"`)
	counters = regexp.MustCompile(`duration=[^ ]*|n_packets=[^ ]*|n_bytes=[^ ]*|reset_counts`)
)

// TestNeutronDumps reads what ovs-ofctl printed on hosts of a running Neutron.
func TestNeutronDumps(t *testing.T) {
	files, err := filepath.Glob("testdata/neutron/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dumps: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ports, names := map[string]uint32{}, map[uint32]string{}
			var original, ours []string
			for _, line := range lines(t, file) {
				plain := portName.ReplaceAllStringFunc(line, func(q string) string {
					name, _ := strconv.Unquote(q)
					if ports[name] == 0 {
						ports[name] = uint32(len(ports) + 1)
						names[ports[name]] = name
					}
					return strconv.Itoa(int(ports[name]))
				})
				f, err := ParseNamed(line, ports)
				if err != nil {
					t.Error(err)
					continue
				}
				if text := f.Text(names); counters.ReplaceAllString(text, "") != text {
					t.Errorf("counters in %s", text)
				} else if got, want := squeeze(text), squeeze(line); got != want {
					t.Errorf("text differs\n got  %s\n want %s", got, want)
				}
				original = append(original, counters.ReplaceAllString(plain, ""))
				ours = append(ours, f.String())
			}
			want, got := ofctl(t, original), ofctl(t, ours)
			for i := range want {
				if squeeze(got[i]) != squeeze(want[i]) {
					t.Errorf("%s\n got  %s\n want %s", original[i], got[i], want[i])
				}
			}
		})
	}
}

// wholeLoad turns the loads of learned flows into their normal form.
var wholeLoad = strings.NewReplacer(" ", "", "load:0->NXM_OF_VLAN_TCI[],load:0x1->NXM_NX_TUN_ID[],output:", "set_field:0->vlan_tci,set_field:0x1->tun_id,output:")

// squeeze drops what a dump has beside the flow, and says the loads of learned
// flows in their normal form.
func squeeze(text string) string {
	text = counters.ReplaceAllString(text, "")
	text = wholeLoad.Replace(text)
	for strings.Contains(text, ",,") {
		text = strings.ReplaceAll(text, ",,", ",")
	}
	return text
}
