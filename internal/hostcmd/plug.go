package hostcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"weft/internal/fault"
	"weft/internal/host/link"
	"weft/internal/host/vif"
	"weft/internal/model"
)

// userspace is the datapath that reads a TAP's frames as they are, without the kernel's help.
const userspace = "netdev"

// plugOptions are the flags of "weft host plug".
type plugOptions struct {
	port, mac, vm, mode string
	mtu                 int
	tap                 bool
	guest               string
	acceptRA            bool
	bridge, ovsdb       string
}

func plugCommand() *cobra.Command {
	o := &plugOptions{}
	cmd := &cobra.Command{
		Use:   "plug --port-id ID --mac MAC",
		Short: "Plug a VM's network card into this host's switch, as Nova does",
		Long: `Plug a VM's network card into this host's switch, for VMs that are not started by Nova.

It makes the same devices with the same names as Nova's os-vif: in mode hybrid a TAP, a Linux bridge where
iptables filters, and a veth pair to br-int; in mode direct the TAP alone. The agent wires the card when
it sees it; the port must be bound to this host (binding:host_id).

The TAP is for a hypervisor to open: what to tell libvirt or qemu is printed. With --guest the card goes
into a network namespace of that name instead, as the lab's VMs have it.

To plug again what is plugged changes only what differs.`,
		Example: `  weft host plug --port-id 37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11 --mac fa:16:3e:11:22:33 --mtu 1458
  weft host plug --port-id 37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11 --mac fa:16:3e:11:22:33 --guest vm1
  ip netns exec vm-vm1 ip link`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.port, "port-id", "", "id of the port (required)")
	f.StringVar(&o.mac, "mac", "", "MAC of the card, which must be the port's (required)")
	f.StringVar(&o.vm, "vm-uuid", "", "id of the VM, noted on the switch's port")
	f.IntVar(&o.mtu, "mtu", 0, "MTU of the port's network in bytes; 0: the kernel's choice")
	f.StringVar(&o.mode, "mode", string(vif.Hybrid), "hybrid (by a Linux bridge, where iptables filters) or direct")
	f.BoolVar(&o.tap, "tap", false, "make a TAP for a hypervisor to open (the default)")
	f.StringVar(&o.guest, "guest", "", "make a network namespace vm-NAME with the card in it, instead of a TAP")
	f.BoolVar(&o.acceptRA, "accept-ra", false, "with --guest: take IPv6 addresses from router advertisements")
	f.StringVar(&o.bridge, "bridge", "br-int", "the switch's bridge")
	f.StringVar(&o.ovsdb, "ovsdb", defaultOVSDB, "the switch's database")
	cobra.CheckErr(cmd.MarkFlagRequired("port-id"))
	cobra.CheckErr(cmd.MarkFlagRequired("mac"))
	cmd.MarkFlagsMutuallyExclusive("tap", "guest")
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{string(vif.Hybrid), string(vif.Direct)}, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// spec turns flags into what is to be plugged; errors name the flag.
func (o *plugOptions) spec() (vif.Spec, error) {
	s := vif.Spec{MTU: o.mtu, Mode: vif.Mode(o.mode), Guest: o.guest, AcceptRA: o.acceptRA, Bridge: o.bridge}
	var err error
	if s.PortID, err = portID(o.port); err != nil {
		return s, fmt.Errorf("--port-id: %w", err)
	}
	if s.MAC, err = model.ParseMAC(o.mac); err != nil {
		return s, fmt.Errorf("--mac: %w", err)
	}
	if o.vm != "" {
		if s.VMUUID, err = model.ParseUUID(o.vm); err != nil {
			return s, fmt.Errorf("--vm-uuid: %w", err)
		}
	}
	switch {
	case s.MAC.IsZero() || s.MAC.IsMulticast():
		return s, fmt.Errorf("--mac %s: not an address that a card can have", s.MAC)
	case s.Mode != vif.Hybrid && s.Mode != vif.Direct:
		return s, fmt.Errorf("--mode %s: want hybrid or direct", o.mode)
	case o.mtu != 0 && (o.mtu < 68 || o.mtu > 65535):
		return s, fmt.Errorf("--mtu %d: want 68 to 65535, or 0 for the kernel's choice", o.mtu)
	case o.acceptRA && o.guest == "":
		return s, errors.New("--accept-ra is for the namespace that --guest makes")
	case strings.ContainsAny(o.guest, "/ ") || strings.HasPrefix(o.guest, "."):
		return s, fmt.Errorf("--guest %q: want a name without slashes and spaces", o.guest)
	case s.Bridge == "":
		return s, errors.New("--bridge: want the name of a bridge")
	}
	return s, s.Validate()
}

func portID(text string) (model.PortID, error) {
	id, err := model.ParseUUID(text)
	if err == nil && id.IsZero() {
		err = fmt.Errorf("%s is no port's id", text)
	}
	return model.PortID{UUID: id}, err
}

func (o *plugOptions) run(ctx context.Context, out io.Writer) error {
	s, err := o.spec()
	if err != nil {
		return err
	}
	ns, err := link.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	sw := vif.VSCtl{DB: o.ovsdb}
	if err := vif.New(ns, sw).Plug(ctx, s); err != nil {
		return err
	}
	br, err := sw.Bridge(ctx, s.Bridge)
	if err != nil {
		return fmt.Errorf("plugged, but the kind of the switch's datapath is not known: %w", err)
	}
	_, err = io.WriteString(out, advice(s, br.Datapath))
	return err
}

// advice says what was made and how to use it.
func advice(s vif.Spec, datapath string) string {
	var b strings.Builder
	names := vif.NamesOf(s.PortID)
	way := names.Tap
	if s.Mode == vif.Hybrid {
		way += " - " + names.Bridge + " - " + names.BridgeEnd + "/" + names.SwitchEnd
	}
	fmt.Fprintf(&b, "plugged: %s - %s\n", way, s.Bridge)
	if s.Guest != "" {
		netns := vif.GuestNetns(s.Guest)
		fmt.Fprintf(&b, "\nThe card is %s in the namespace %s:\n  ip netns exec %s ip link show %s\n", vif.GuestDevice, netns, netns, vif.GuestDevice)
		return b.String()
	}
	fmt.Fprintf(&b, "\nlibvirt (5.7 or later, the TAP is there already):\n%s", libvirtInterface(s, names.Tap, datapath))
	fmt.Fprintf(&b, "\nqemu:\n  %s\n", qemuArguments(s, names.Tap, datapath))
	return b.String()
}

// libvirtInterface is the element of a domain's devices that uses the TAP (libvirt, "Domain XML format", "Generic
// ethernet connection": managed='no' takes a device that exists).
func libvirtInterface(s vif.Spec, tap, datapath string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "  "+format+"\n", args...) }
	line("<interface type='ethernet'>")
	line("  <mac address='%s'/>", s.MAC)
	line("  <target dev='%s' managed='no'/>", tap)
	line("  <model type='virtio'/>")
	if s.MTU > 0 {
		line("  <mtu size='%d'/>", s.MTU)
	}
	if datapath == userspace {
		// Nobody behind the TAP would fill in checksums or cut segments.
		line("  <driver name='qemu'>")
		line("    <host csum='off' gso='off' tso4='off' tso6='off' ecn='off' ufo='off'/>")
		line("    <guest csum='off' tso4='off' tso6='off' ecn='off' ufo='off'/>")
		line("  </driver>")
	}
	line("</interface>")
	return b.String()
}

// qemuArguments are the arguments that use the TAP (qemu-system-x86_64(1), "-netdev tap").
func qemuArguments(s vif.Spec, tap, datapath string) string {
	netdev := "tap,id=net0,ifname=" + tap + ",script=no,downscript=no"
	if datapath == userspace {
		netdev += ",vnet_hdr=off"
	}
	device := "virtio-net-pci,netdev=net0,mac=" + s.MAC.String()
	if s.MTU > 0 {
		device += fmt.Sprintf(",host_mtu=%d", s.MTU)
	}
	return "-netdev " + netdev + " -device " + device
}

func unplugCommand() *cobra.Command {
	var bridge, guest, ovsdb string
	cmd := &cobra.Command{
		Use:   "unplug PORT-ID",
		Short: "Remove every trace of a VM's network card from this host",
		Long: `Remove every trace of a VM's network card from this host: its port on the switch, its devices, and its
namespace if it has one. That there is nothing to remove is no error.`,
		Example: "  weft host unplug 37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := portID(args[0])
			if err != nil {
				return err
			}
			return unplug(cmd.Context(), id, bridge, guest, ovsdb)
		},
	}
	f := cmd.Flags()
	f.StringVar(&bridge, "bridge", "br-int", "the switch's bridge")
	f.StringVar(&guest, "guest", "", "name of the guest whose namespace goes too; found out when its card is there")
	f.StringVar(&ovsdb, "ovsdb", defaultOVSDB, "the switch's database")
	return cmd
}

func unplug(ctx context.Context, id model.PortID, bridge, guest, ovsdb string) error {
	ns, err := link.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	if guest == "" {
		if guest, err = guestOf(ns, vif.NamesOf(id).Tap); err != nil {
			return err
		}
	}
	return vif.New(ns, vif.VSCtl{DB: ovsdb}).Unplug(ctx, id, bridge, guest)
}

// guestOf returns the guest whose card is the other end of a TAP, "" if it is none in a namespace.
func guestOf(ns *link.Namespace, tap string) (string, error) {
	l, err := ns.Get(tap)
	if fault.Of(err) == fault.NotFound || err == nil && l.Kind != "veth" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	names, err := link.NetnsNames()
	if err != nil {
		return "", err
	}
	for _, name := range names {
		guest, ok := strings.CutPrefix(name, vif.GuestNetns(""))
		if !ok {
			continue
		}
		in, err := link.OpenNetns(name)
		if err != nil {
			continue // it has just gone
		}
		card, err := in.Get(vif.GuestDevice)
		in.Close()
		// The index alone may be that of another namespace's device; the TAP's index and the card's name each other.
		if err == nil && card.Peer == l.Index && card.Index == l.Peer {
			return guest, nil
		}
	}
	return "", nil
}
