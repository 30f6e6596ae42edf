package lab

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"weft/internal/fault"
	"weft/internal/host/vif"
)

// MachineCache is where the kernel and the initramfs of machines are kept, built once.
const MachineCache = "/var/cache/weft/machine"

// Machine is how a VM boots in qemu: from a kernel and an initramfs, or from a disk.
type Machine struct {
	Kernel, Initramfs string // see PrepareMachine
	Disk              Disk   // see OpenDisk
	Memory            int    // MiB; 0: 256, and 512 with a disk
	Accel             string // qemu's -accel; empty: tcg, as KVM within a VM may be there and yet stop at some instruction
}

// Disk is an image that a machine boots from. What the machine writes is forgotten with it.
type Disk struct {
	File, Format string // Format is qemu's name for what the file holds: raw or qcow2
}

// OpenDisk returns a machine that boots from the image of a disk, as clouds publish them: a qcow2 file, or the
// raw bytes of a disk that has a boot sector.
func OpenDisk(file string) (*Machine, error) {
	if err := needQemu(); err != nil {
		return nil, err
	}
	file, err := filepath.Abs(file) // qemu starts elsewhere
	if err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	format, err := diskFormat(f)
	if err != nil {
		return nil, fault.New(fault.Invalid, "InvalidImage", "%s is no image of a disk: %v", file, err)
	}
	return &Machine{Disk: Disk{File: file, Format: format}}, nil
}

// diskFormat tells what a file holds by its first sector. qemu's own guess is not safe: a guest that writes the
// magic of another format into a raw disk would have it read as that.
func diskFormat(r io.Reader) (string, error) {
	var sector [512]byte
	if _, err := io.ReadFull(r, sector[:]); err != nil {
		return "", errors.New("it is shorter than a sector")
	}
	switch {
	case bytes.HasPrefix(sector[:], []byte("QFI\xfb")): // qemu's docs/interop/qcow2.txt
		return "qcow2", nil
	case sector[510] == 0x55 && sector[511] == 0xaa:
		return "raw", nil
	}
	return "", errors.New("it is neither in qcow2 nor does it begin with a boot sector")
}

func needQemu() error {
	if _, err := exec.LookPath(qemu); err != nil {
		return fault.New(fault.Invalid, "InvalidLab", "a machine needs %s (package qemu-system-x86)", qemu)
	}
	return nil
}

// PrepareMachine returns a machine built from Debian's packages: the cloud
// kernel (downloaded, not installed) and an initramfs that holds busybox, asks
// for an address, says so on the console and stays. It needs
// qemu-system-x86, busybox-static, apt-get and dpkg-deb. What it makes is kept in
// cache (empty: MachineCache) and used again.
func PrepareMachine(ctx context.Context, cache string) (*Machine, error) {
	if cache == "" {
		cache = MachineCache
	}
	if err := needQemu(); err != nil {
		return nil, err
	}
	m := &Machine{Kernel: filepath.Join(cache, "vmlinuz"), Initramfs: filepath.Join(cache, "initramfs")}
	// The initramfs is made last.
	if _, err := os.Stat(m.Initramfs); err == nil {
		return m, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(cache, "work")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	if err := unpackKernel(ctx, work); err != nil {
		return nil, fmt.Errorf("kernel for machines: %w", err)
	}
	kernels, err := filepath.Glob(filepath.Join(work, "boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("kernel for machines: the package has %d kernels", len(kernels))
	}
	image, err := machineInitramfs(work)
	if err != nil {
		return nil, fmt.Errorf("initramfs for machines: %w", err)
	}
	if err := os.Rename(kernels[0], m.Kernel); err != nil {
		return nil, err
	}
	next := m.Initramfs + ".next"
	if err := os.WriteFile(next, image, 0o644); err != nil {
		return nil, err
	}
	return m, os.Rename(next, m.Initramfs)
}

const qemu = "qemu-system-x86_64"

// firmwareTime is how long a machine may take until its firmware prints; most of it is qemu's own start.
const firmwareTime = 20 * time.Second

var cloudKernel = regexp.MustCompile(`Depends: (linux-image-\S+-cloud-amd64)`)

// unpackKernel downloads the kernel package that the metapackage names.
func unpackKernel(ctx context.Context, dir string) error {
	run := func(argv ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", argv[0], err, bytes.TrimSpace(out))
		}
		return out, err
	}
	out, err := run("apt-cache", "depends", "linux-image-cloud-amd64")
	if err != nil {
		return err
	}
	name := cloudKernel.FindSubmatch(out)
	if name == nil {
		return errors.New("apt knows no linux-image-cloud-amd64")
	}
	// apt gives up its rights for the download, and then may not write here.
	if _, err := run("apt-get", "-o", "APT::Sandbox::User=root", "download", string(name[1])); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("download gave %d packages", len(debs))
	}
	_, err = run("dpkg-deb", "-x", debs[0], dir)
	return err
}

func machineKey(vm string) string { return "vm/" + vm }

// command is how qemu is started for a VM. The tap's frames are read raw by
// Open vSwitch, so the machine must fill in checksums itself: vnet_hdr=off.
//
// A machine looks like one of Nova's: by the product's name cloud-init knows that there is a metadata
// service to ask, and does not look for it elsewhere (ds-identify).
func (m *Machine) command(vm VM, mtu int) []string {
	memory := m.Memory
	if memory == 0 {
		memory = 256
		if m.Disk.File != "" {
			memory = 512
		}
	}
	device := "virtio-net-pci,netdev=n0,romfile=,mac=" + vm.MAC.String()
	if mtu != 0 {
		device += ",host_mtu=" + strconv.Itoa(mtu)
	}
	argv := []string{
		qemu, "-accel", cmp.Or(m.Accel, "tcg"),
		"-cpu", "max,-arch-capabilities", // KVM within a VM may refuse to set that register
		"-m", strconv.Itoa(memory), "-smp", "1",
		"-nographic", "-nodefaults", "-serial", "stdio",
		"-smbios", "type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,uuid=" + vm.UUID.String(),
		"-device", "virtio-rng-pci", // keys for ssh are made at the first boot
		"-netdev", "tap,id=n0,script=no,downscript=no,vnet_hdr=off,ifname=" + vif.NamesOf(vm.PortID).Tap, "-device", device,
	}
	if m.Disk.File != "" {
		return append(argv, "-snapshot", "-drive", "if=virtio,format="+m.Disk.Format+",file="+strings.ReplaceAll(m.Disk.File, ",", ",,"))
	}
	return append(argv, "-no-reboot", "-kernel", m.Kernel, "-initrd", m.Initramfs, "-append", "console=ttyS0 quiet panic=-1 weft.name="+vm.Name)
}

// bootMachine starts qemu in the VM's host.
func (l *Lab) bootMachine(ctx context.Context, vm VM, s VMSpec) (VM, error) {
	st, err := l.read()
	if err != nil {
		return VM{}, err
	}
	console := "/var/log/console-" + vm.Name + ".log"
	vm.Console = filepath.Join(l.hostDir(vm.Host), console)
	// One machine's words, not those of an earlier one of that name.
	if err := os.RemoveAll(vm.Console); err != nil {
		return VM{}, err
	}
	pid, err := l.spawnInside(ctx, st, vm.Host, console, s.Qemu.command(vm, s.MTU))
	if err != nil {
		return VM{}, err
	}
	started, _ := startTime(pid)
	p := process{PID: pid, Started: started}
	err = l.update(func(st *state) error {
		for i := range st.VMs {
			if st.VMs[i].Name == vm.Name {
				st.VMs[i] = vm
			}
		}
		st.Procs[machineKey(vm.Name)] = p
		return nil
	})
	if err != nil {
		return VM{}, err
	}
	return vm, awaitFirmware(ctx, p, vm.Console)
}

// awaitFirmware returns when a machine's firmware speaks, and with what qemu said when it has ended instead: of an
// image or an option that it cannot take it says so after its start.
func awaitFirmware(ctx context.Context, machine process, console string) error {
	ctx, cancel := context.WithTimeout(ctx, firmwareTime)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		ended := machine.running() == 0 // before its words are read: after that, they are all there
		said, err := os.ReadFile(console)
		switch {
		case err != nil:
			return err
		case bytes.Contains(said, []byte("SeaBIOS")):
			return nil
		case ended:
			return fmt.Errorf("qemu ended: %s", bytes.TrimSpace(said))
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the firmware of the machine: %w", ctx.Err())
		}
	}
}
