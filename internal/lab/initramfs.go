package lab

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed machine/init
var machineInit []byte

//go:embed machine/on-lease
var machineOnLease []byte

// machineModules are what a virtio card needs, in the order to load them.
var machineModules = []string{
	"virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover", "net_failover", "virtio_net",
}

// machineInitramfs makes the initramfs of a machine: busybox, the modules of the
// kernel that is unpacked in a directory, and two scripts.
func machineInitramfs(kernel string) ([]byte, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox (package busybox-static): %w", err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	files := []archived{
		{name: "bin", mode: fs.ModeDir | 0o755}, {name: "dev", mode: fs.ModeDir | 0o755}, {name: "etc", mode: fs.ModeDir | 0o755},
		{name: "mod", mode: fs.ModeDir | 0o755}, {name: "proc", mode: fs.ModeDir | 0o755}, {name: "sys", mode: fs.ModeDir | 0o755},
		{name: "bin/busybox", mode: 0o755, data: busybox},
		{name: "init", mode: 0o755, data: machineInit},
		{name: "on-lease", mode: 0o755, data: machineOnLease},
	}
	modules, err := findModules(kernel)
	if err != nil {
		return nil, err
	}
	for i, name := range machineModules {
		data, err := os.ReadFile(modules[name])
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
		// The number keeps the order for the script, which loads them by name.
		files = append(files, archived{name: fmt.Sprintf("mod/%02d-%s.ko", i, name), mode: 0o644, data: data})
	}
	var out bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err := writeNewc(zip, files); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// findModules returns the paths of a kernel's modules by their names.
func findModules(kernel string) (map[string]string, error) {
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(kernel, "lib/modules"), func(path string, d fs.DirEntry, err error) error {
		if name, is := strings.CutSuffix(filepath.Base(path), ".ko"); is {
			found[name] = path
		}
		return err
	})
	return found, err
}

// archived is a file of an archive.
type archived struct {
	name string
	mode fs.FileMode
	data []byte
}

// writeNewc writes a cpio archive of the form that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func writeNewc(w io.Writer, files []archived) error {
	for i, f := range append(files, archived{name: "TRAILER!!!"}) {
		mode := uint32(f.mode.Perm()) | 0o100000
		if f.mode.IsDir() {
			mode = uint32(f.mode.Perm()) | 0o040000
		}
		var b bytes.Buffer
		b.WriteString("070701")
		for _, field := range []uint32{
			uint32(i + 1), mode, 0, 0, 1, 0, uint32(len(f.data)), 0, 0, 0, 0, uint32(len(f.name) + 1), 0,
		} {
			fmt.Fprintf(&b, "%08X", field)
		}
		b.WriteString(f.name)
		b.WriteByte(0)
		pad(&b)
		b.Write(f.data)
		pad(&b)
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// pad fills up to a multiple of four bytes; each entry starts at one.
func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
