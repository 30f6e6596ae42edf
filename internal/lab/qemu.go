package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"weft/internal/fault"
	"weft/internal/host/vif"
)

// MachineCache is where the kernel and the initramfs of machines are kept, built once.
const MachineCache = "/var/cache/weft/machine"

// Machine is how a VM boots in qemu.
type Machine struct {
	Kernel, Initramfs string // see PrepareMachine
	Memory            int    // MiB; 0: 256
	Accel             string // qemu's -accel; empty: tcg, which needs no /dev/kvm
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
	if _, err := exec.LookPath(qemu); err != nil {
		return nil, fault.New(fault.Invalid, "InvalidLab", "a machine needs %s (package qemu-system-x86)", qemu)
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

// bootMachine starts qemu in the VM's host. The tap's frames are read raw by
// Open vSwitch, so the machine must fill in checksums itself: vnet_hdr=off.
func (l *Lab) bootMachine(ctx context.Context, vm VM, s VMSpec) (VM, error) {
	st, err := l.read()
	if err != nil {
		return VM{}, err
	}
	m := *s.Qemu
	if m.Memory == 0 {
		m.Memory = 256
	}
	if m.Accel == "" {
		m.Accel = "tcg"
	}
	device := "virtio-net-pci,netdev=n0,romfile=,mac=" + vm.MAC.String()
	if s.MTU != 0 {
		device += ",host_mtu=" + strconv.Itoa(s.MTU)
	}
	console := "/var/log/console-" + vm.Name + ".log"
	vm.Console = filepath.Join(l.hostDir(vm.Host), console)
	// One machine's words, not those of an earlier one of that name.
	if err := os.RemoveAll(vm.Console); err != nil {
		return VM{}, err
	}
	pid, err := l.spawnInside(ctx, st, vm.Host, console, []string{
		qemu, "-accel", m.Accel, "-cpu", "qemu64", "-m", strconv.Itoa(m.Memory), "-smp", "1",
		"-nographic", "-no-reboot", "-nodefaults", "-serial", "stdio",
		"-kernel", m.Kernel, "-initrd", m.Initramfs, "-append", "console=ttyS0 quiet panic=-1 weft.name=" + vm.Name,
		"-netdev", "tap,id=n0,script=no,downscript=no,vnet_hdr=off,ifname=" + vif.NamesOf(vm.PortID).Tap, "-device", device,
	})
	if err != nil {
		return VM{}, err
	}
	started, _ := startTime(pid)
	return vm, l.update(func(st *state) error {
		for i := range st.VMs {
			if st.VMs[i].Name == vm.Name {
				st.VMs[i] = vm
			}
		}
		st.Procs[machineKey(vm.Name)] = process{PID: pid, Started: started}
		return nil
	})
}
