package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"weft/internal/host/link"
)

// Outside is what a lab calls the world beyond its external network: one host, which is the gateway of
// 203.0.113.0/24 and has 198.51.100.1 behind it (RFC 5737). It runs no agent.
const Outside = "outside"

// The external network as hosts see it.
const (
	externalDevice = "ens5"
	ExternalBridge = "br-ex" // on each host, carries ExternalNetwork
	// ExternalNetwork is the physical network's name.
	ExternalNetwork = "public"

	externalSwitch = "br-wan" // joins the hosts' external cards, in the namespace of Outside
	outsideDevice  = "eth0"
	outsidePort    = "w-outside"
)

// outsideAddrs are the addresses of Outside on the external network, those behind it on lo.
var outsideAddrs = []struct {
	device string
	addr   netip.Prefix
}{
	{outsideDevice, netip.MustParsePrefix("203.0.113.1/24")},
	{outsideDevice, netip.MustParsePrefix("2001:db8:113::1/64")},
	{"lo", netip.MustParsePrefix("198.51.100.1/32")},
}

func (l *Lab) outsideNetns() string { return l.name + "-" + Outside }

// externalPort is the wire's end of a host's external card.
func externalPort(host string) string { return "w-" + host }

// makeOutside makes the external wire, and the world beyond it.
func (l *Lab) makeOutside() error {
	if _, err := link.EnsureNetns(l.outsideNetns()); err != nil {
		return err
	}
	n, err := link.OpenNetns(l.outsideNetns())
	if err != nil {
		return err
	}
	defer n.Close()
	err = n.TrySysctls("0", "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables", "net/bridge/bridge-nf-call-arptables")
	if err := errors.Join(err, n.TrySysctls("1", "net/ipv6/conf/default/disable_ipv6")); err != nil {
		return err
	}
	// The bridge is a wire: it does not answer for the address of the device beside it.
	if err := n.TrySysctls("1", "net/ipv4/conf/all/arp_ignore"); err != nil {
		return err
	}
	if _, err := n.EnsureBridge(link.Bridge{Name: externalSwitch}); err != nil {
		return err
	}
	if _, err := n.EnsureVeth(link.Veth{Name: outsideDevice, Peer: outsidePort}); err != nil {
		return err
	}
	if err := n.SetMaster(outsidePort, externalSwitch); err != nil {
		return err
	}
	// Its frames go to userspace switches, which do not finish checksums.
	err = errors.Join(n.DisableTxOffload(outsideDevice), n.TrySysctls("0", "net/ipv6/conf/"+outsideDevice+"/disable_ipv6"))
	if err != nil {
		return err
	}
	for _, dev := range []string{"lo", externalSwitch, outsidePort, outsideDevice} {
		if err := n.SetUp(dev); err != nil {
			return err
		}
	}
	for _, a := range outsideAddrs {
		if err := n.EnsureAddr(a.device, a.addr); err != nil {
			return err
		}
	}
	return nil
}

// startOutside starts a command in Outside: its network, and what /sys shows of it.
func (l *Lab) startOutside(cmd *exec.Cmd) error {
	netns, err := os.Open(filepath.Join(link.NetnsDir, l.outsideNetns()))
	if err != nil {
		return err
	}
	defer netns.Close()
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Setns(int(netns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering %s: %w", netns.Name(), err)
		}
		if err := unix.Mount("", "/", "none", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return err
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return err
		}
		return cmd.Start()
	})
}

// Cut takes a host off the underlay, as a pulled cable does: it runs on, and no tunnel of it carries anything.
func (l *Lab) Cut(host string) error { return l.underlayPort(host, (*link.Namespace).SetDown) }

// Mend puts a host that was cut back on the underlay.
func (l *Lab) Mend(host string) error { return l.underlayPort(host, (*link.Namespace).SetUp) }

func (l *Lab) underlayPort(host string, do func(*link.Namespace, string) error) error {
	st, err := l.read()
	if err != nil {
		return err
	}
	if _, err := st.host(host); err != nil {
		return err
	}
	underlay, err := link.OpenNetns(l.underlayNetns())
	if err != nil {
		return err
	}
	defer underlay.Close()
	return do(underlay, "u-"+host)
}
