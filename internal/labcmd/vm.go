package labcmd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/internal/fault"
	"weft/internal/lab"
	"weft/internal/model"
)

// VMOptions is the VM to make.
type VMOptions struct {
	Name, Network, Host string
	FixedIPs            []string
	SecurityGroups      []string
	Firewall            string // hybrid or native; empty: the host's
	Qemu, NoDHCP        bool
	Image               string         // of the disk to boot from, in qemu
	Accel               string         // how qemu runs it: tcg (also when empty) or kvm
	Instance            model.Instance // what metadata tells the VM
}

// CreateVM makes a port by the API, and a VM on it. When it fails, neither is left.
func CreateVM(ctx context.Context, l *lab.Lab, cloud Cloud, o VMOptions) (p Port, err error) {
	var machine *lab.Machine
	switch {
	case o.Image != "":
		machine, err = lab.OpenDisk(o.Image)
	case o.Qemu:
		machine, err = lab.PrepareMachine(ctx, "")
	}
	if err != nil {
		return p, err
	}
	switch {
	case machine != nil:
		machine.Accel = o.Accel
	case o.Accel != "":
		return p, fault.New(fault.Invalid, "InvalidVM", "only machines have an accelerator: give --qemu or --image as well")
	}
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return p, err
	}
	device := model.RandomUUID(random)
	p, err = cloud.CreatePort(ctx, PortSpec{
		Name: o.Name, Network: o.Network, Host: o.Host, Device: device, FixedIPs: o.FixedIPs, SecurityGroups: o.SecurityGroups,
		Firewall: o.Firewall, Instance: o.Instance,
	})
	if err != nil {
		return p, err
	}
	_, err = l.VMCreate(ctx, lab.VMSpec{
		Host: o.Host, Name: o.Name, PortID: p.ID, MAC: p.MAC, UUID: device, MTU: p.MTU, Mode: p.Mode, NoDHCP: o.NoDHCP, Qemu: machine,
		AcceptRA: true, // as guests do unless they are told not to
	})
	if err != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return p, errors.Join(err, cloud.DeletePort(after, p.ID))
	}
	return p, nil
}

// instanceFlags are the flags that say what metadata tells a VM.
type instanceFlags struct {
	hostname, userData string
	sshKeys            []string
}

// instance reads the files that the flags name.
func (f *instanceFlags) instance() (i model.Instance, err error) {
	i.Hostname = f.hostname
	for _, file := range f.sshKeys {
		b, err := os.ReadFile(file)
		if err != nil {
			return i, fmt.Errorf("--ssh-key: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				i.SSHKeys = append(i.SSHKeys, line)
			}
		}
	}
	if f.userData != "" {
		if i.UserData, err = os.ReadFile(f.userData); err != nil {
			return i, fmt.Errorf("--user-data: %w", err)
		}
	}
	_, err = i.Profile() // says what is wrong before anything is made
	return i, err
}

// MoveVM has another firewall driver filter a VM's port, and plugs it in accordingly. The VM keeps running.
func MoveVM(ctx context.Context, l *lab.Lab, cloud Cloud, name, driver string) error {
	vms, err := l.VMs()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(vms, func(v lab.VM) bool { return v.Name == name })
	if i < 0 {
		return fault.New(fault.NotFound, "VMNotFound", "the lab has no VM %s", name)
	}
	p, err := cloud.SetFirewall(ctx, vms[i].PortID, driver)
	if err != nil {
		return err
	}
	return l.VMReplug(ctx, name, p.Mode, p.MTU)
}

// DeleteVM removes a VM and its port.
func DeleteVM(ctx context.Context, l *lab.Lab, cloud Cloud, name string) error {
	vms, err := l.VMs()
	if err != nil {
		return err
	}
	if err := l.VMDelete(ctx, name); err != nil {
		return err
	}
	for _, v := range vms {
		if v.Name == name {
			return cloud.DeletePort(ctx, v.PortID)
		}
	}
	return nil
}

func (c *commands) vm() *cobra.Command {
	cmd := &cobra.Command{Use: "vm", Short: "VMs of the lab", Example: "  weft lab vm create --network demo-net --host compute1 vm1"}
	o := VMOptions{}
	told := instanceFlags{}
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a port and a VM on it, and wait for its address", Args: cobra.ExactArgs(1),
		Example: `  weft lab vm create --network demo-net --host compute1 vm1
  weft lab vm create --network demo-net --host compute2 --qemu vm2
  weft lab vm create --network demo-net --hostname web1 --ssh-key ~/.ssh/id_ed25519.pub --user-data cloud-config.yaml vm3
  weft lab vm create --network demo-net --image debian-12-generic-amd64.qcow2 --ssh-key ~/.ssh/id_ed25519.pub vm4`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			var err error
			if o.Instance, err = told.instance(); err != nil {
				return err
			}
			began := time.Now()
			cloud, err := c.cloud(cmd)
			if err != nil {
				return err
			}
			p, err := CreateVM(cmd.Context(), c.lab(), cloud, o)
			if err != nil {
				return err
			}
			took := time.Since(began).Seconds()
			if o.Qemu || o.Image != "" {
				vms, err := c.lab().VMs()
				if err != nil {
					return err
				}
				for _, v := range vms {
					if v.Name == o.Name {
						fmt.Fprintf(cmd.OutOrStdout(), "%s boots on %s, port %s; its console is in %s\n", o.Name, o.Host, p.ID, v.Console)
					}
				}
				return nil
			}
			if o.NoDHCP {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is on %s, port %s, in %.2f s\n", o.Name, o.Host, p.ID, took)
				return nil
			}
			lease, err := c.lab().VMLease(o.Name)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is on %s, port %s, in %.2f s\n  DHCP gave %s from %s, mtu %d, for %s\n",
				o.Name, o.Host, p.ID, took, lease.Address, lease.Server, lease.MTU, lease.Time)
			return nil
		},
	}
	f := create.Flags()
	f.StringVar(&o.Network, "network", "", "network of the VM (name or id)")
	f.StringVar(&o.Host, "host", "compute1", "host of the VM")
	f.StringSliceVar(&o.FixedIPs, "fixed-ip", nil, "address of the VM; none: the server picks")
	f.StringSliceVar(&o.SecurityGroups, "security-group", nil, "security group (name or id), may be repeated; none: the default group")
	f.StringVar(&o.Firewall, "firewall", "", "what filters the VM's port: hybrid (iptables) or native (flows); none: the host decides")
	f.BoolVar(&o.Qemu, "qemu", false, "boot a real machine in qemu instead of making a namespace")
	f.StringVar(&o.Image, "image", "", "boot a real machine in qemu from the image of a disk (qcow2 or raw); what it writes is not kept")
	f.StringVar(&o.Accel, "accel", "", "how qemu runs the machine: kvm where it works, or tcg (none: tcg), which is slow and works anywhere")
	f.BoolVar(&o.NoDHCP, "no-dhcp", false, "do not ask for an address")
	f.StringVar(&told.hostname, "hostname", "", "host name that the metadata service tells the VM, and its name in DNS; none: made of its address")
	f.StringArrayVar(&told.sshKeys, "ssh-key", nil, "file with public keys for the VM, as in authorized_keys; may be repeated")
	f.StringVar(&told.userData, "user-data", "", "file with user data for the VM, such as a cloud-config; at most 16 KiB")
	for _, flag := range []string{"ssh-key", "user-data", "image"} {
		cobra.CheckErr(create.MarkFlagFilename(flag))
	}
	cobra.CheckErr(create.MarkFlagRequired("network"))
	list := &cobra.Command{
		Use: "list", Short: "List VMs", Args: cobra.NoArgs, Example: "  weft lab vm list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			vms, err := c.lab().VMs()
			if err != nil {
				return err
			}
			for _, v := range vms {
				address := "-"
				if lease, err := c.lab().VMLease(v.Name); err == nil {
					address = lease.Address.String()
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-12s %-10s %-18s %s  port %s\n", v.Name, v.Host, address, v.MAC, v.PortID)
			}
			return nil
		},
	}
	remove := &cobra.Command{
		Use: "delete NAME…", Short: "End VMs and delete their ports", Args: cobra.MinimumNArgs(1), Example: "  weft lab vm delete vm1",
		ValidArgsFunction: c.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := c.cloud(cmd)
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				errs = append(errs, DeleteVM(cmd.Context(), c.lab(), cloud, name))
			}
			return errors.Join(errs...)
		},
	}
	move := &cobra.Command{
		Use: "firewall NAME hybrid|native", Short: "Have another firewall driver filter a VM's port, while it runs", Args: cobra.ExactArgs(2),
		Example: "  weft lab vm firewall vm1 native", ValidArgsFunction: c.names,
		RunE: func(cmd *cobra.Command, args []string) error {
			cloud, err := c.cloud(cmd)
			if err != nil {
				return err
			}
			return MoveVM(cmd.Context(), c.lab(), cloud, args[0], args[1])
		},
	}
	cmd.AddCommand(create, list, move, remove)
	return cmd
}
