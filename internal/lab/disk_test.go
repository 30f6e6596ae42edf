package lab

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"weft/internal/model"
)

func TestDiskFormat_isToldByTheFirstSector(t *testing.T) {
	boot := make([]byte, 512)
	boot[510], boot[511] = 0x55, 0xaa
	for _, c := range []struct {
		what    string
		content []byte
		format  string // empty: refused
	}{
		{"the magic of qcow2", append([]byte("QFI\xfb"), make([]byte, 600)...), "qcow2"},
		{"a boot sector", append(boot, make([]byte, 512)...), "raw"},
		{"text", bytes.Repeat([]byte("no image\n"), 100), ""},
		{"less than a sector", boot[:511], ""},
		{"nothing", nil, ""},
	} {
		format, err := diskFormat(bytes.NewReader(c.content))
		if format != c.format || (err == nil) != (c.format != "") {
			t.Errorf("%s: format %q, %v", c.what, format, err)
		}
	}
}

// A comma ends a value on qemu's command line, and whoever names a file must not add options.
func TestMachine_aCommaInTheFilesNameIsPartOfIt(t *testing.T) {
	m := Machine{Disk: Disk{File: "/a,readonly=on.img", Format: "raw"}}
	argv := m.command(VM{Name: "vm1", PortID: model.PortID{}}, 1450)
	i := slices.Index(argv, "-drive")
	if i < 0 || argv[i+1] != "if=virtio,format=raw,file=/a,,readonly=on.img" {
		t.Errorf("%s", strings.Join(argv, " "))
	}
}
