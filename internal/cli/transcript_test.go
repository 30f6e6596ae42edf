package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weft/internal/testkit/golden"
)

// TestTranscripts runs the command lines of each testdata/transcript/*.txt, one after the other
// against one server, and compares what they print with what the file says. Lines with
// "# " are comments, "$ " are commands; "> " are the requests that changed something, and a
// last line "[1]" is an exit code other than 0.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcript/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s, anon := newShell(t), anonymizer{}
			s.addHosts(t)
			var b strings.Builder
			for line := range strings.Lines(string(text)) {
				switch {
				case strings.HasPrefix(line, "# "):
					b.WriteString(line)
				case strings.HasPrefix(line, "$ weft "):
					s.requests = nil
					out, errs, code := s.run(words(t, strings.TrimPrefix(strings.TrimSpace(line), "$ weft "))...)
					b.WriteString(line)
					for _, r := range s.requests {
						fmt.Fprintf(&b, "> %s\n", anon.clean(r))
					}
					b.WriteString(anon.clean(strings.ReplaceAll(out+errs, s.url, "http://SERVER")))
					if code != 0 {
						fmt.Fprintf(&b, "[%d]\n", code)
					}
					b.WriteString("\n")
				}
			}
			golden.Check(t, file, b.String())
		})
	}
}

// words splits a command line as a shell would, as far as transcripts and examples go.
func words(t testing.TB, line string) []string {
	t.Helper()
	var out []string
	var b strings.Builder
	in := false
	var quote rune
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			b.WriteRune(r)
		case r == '"' || r == '\'':
			quote, in = r, true
		case r == ' ':
			if in {
				out = append(out, b.String())
			}
			b.Reset()
			in = false
		default:
			in = true
			b.WriteRune(r)
		}
	}
	if in {
		out = append(out, b.String())
	}
	if quote != 0 {
		t.Fatalf("%s: a quote is open", line)
	}
	return out
}

// anonymizer replaces what the server draws by lot, so that transcripts do not change when the
// server draws once more. Lengths stay, for the sake of tables.
type anonymizer map[string]string

var drawn = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|fa:16:3e(:[0-9a-f]{2}){3}|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

func (a anonymizer) clean(text string) string {
	return drawn.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasSuffix(s, "Z") {
			return "2027-01-15T08:00:00Z"
		}
		if _, ok := a[s]; !ok {
			if a[s] = fmt.Sprintf("00000000-0000-4000-8000-%012d", len(a)+1); strings.HasPrefix(s, "fa:") {
				a[s] = fmt.Sprintf("fa:16:3e:00:00:%02x", len(a)+1)
			}
		}
		return a[s]
	})
}
