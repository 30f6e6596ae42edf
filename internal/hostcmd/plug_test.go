package hostcmd

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"weft/internal/host/vif"
)

const (
	somePort = "37b25c08-e8aa-4d0e-8d2a-5f1f5c8e7a11"
	someMAC  = "fa:16:3e:1c:0d:11"
)

// run executes the command line and returns what it printed.
func run(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := Command()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestPlugRefusesWhatCannotBe(t *testing.T) {
	good := []string{"plug", "--port-id", somePort, "--mac", someMAC}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no port":            {[]string{"plug", "--mac", someMAC}, `required flag(s) "port-id" not set`},
		"no MAC":             {[]string{"plug", "--port-id", somePort}, `required flag(s) "mac" not set`},
		"a port of no form":  {[]string{"plug", "--port-id", "37b25c08", "--mac", someMAC}, "--port-id: "},
		"the zero port":      {[]string{"plug", "--port-id", "00000000-0000-0000-0000-000000000000", "--mac", someMAC}, "--port-id: "},
		"a MAC of no form":   {[]string{"plug", "--port-id", somePort, "--mac", "fa:16"}, "--mac: "},
		"a group MAC":        {[]string{"plug", "--port-id", somePort, "--mac", "ff:ff:ff:ff:ff:ff"}, "--mac ff:ff:ff:ff:ff:ff: not an address that a card can have"},
		"a VM of no form":    {append(good, "--vm-uuid", "vm1"), "--vm-uuid: "},
		"another mode":       {append(good, "--mode", "magic"), "--mode magic: want hybrid or direct"},
		"a tiny MTU":         {append(good, "--mtu", "20"), "--mtu 20: want 68 to 65535"},
		"TAP and guest":      {append(good, "--tap", "--guest", "vm1"), "[guest tap]"},
		"a guest with a way": {append(good, "--guest", "../x"), "--guest"},
		"RA without guest":   {append(good, "--accept-ra"), "--accept-ra is for"},
		"no bridge":          {append(good, "--bridge", ""), "--bridge: "},
		"a stray word":       {append(good, "vm1"), "unknown command"},
		"unplug nothing":     {[]string{"unplug"}, "accepts 1 arg"},
		"unplug no port":     {[]string{"unplug", "vm1"}, `"vm1" is not a UUID`},
		"view as a song":     {[]string{"view", "-o", "mp3"}, "--output mp3: want text, svg or json"},
		"view in fancy":      {[]string{"view", "--color", "pink"}, "--color pink: want auto, always or never"},
		"view of two hosts":  {[]string{"view", "a", "b"}, "accepts at most 1 arg"},
		"view of no host":    {[]string{"view", "nowhere", "--lab", "wviewnone"}, "nowhere is not this host"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := run(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAdviceIsForTheDatapath(t *testing.T) {
	o := plugOptions{port: somePort, mac: someMAC, mode: "hybrid", mtu: 1458, bridge: "br-int"}
	s, err := o.spec()
	if err != nil {
		t.Fatal(err)
	}
	kernel, user := advice(s, "system"), advice(s, "netdev")
	for _, want := range []string{
		"plugged: tap37b25c08-e8 - qbr37b25c08-e8 - qvb37b25c08-e8/qvo37b25c08-e8 - br-int\n",
		"<target dev='tap37b25c08-e8' managed='no'/>", "<mac address='fa:16:3e:1c:0d:11'/>", "<mtu size='1458'/>",
		"-netdev tap,id=net0,ifname=tap37b25c08-e8,script=no,downscript=no", "virtio-net-pci,netdev=net0,mac=fa:16:3e:1c:0d:11,host_mtu=1458",
	} {
		if !strings.Contains(kernel, want) || !strings.Contains(user, want) {
			t.Errorf("without %q:\n%s\n%s", want, kernel, user)
		}
	}
	if strings.Contains(kernel, "off") || !strings.Contains(user, "vnet_hdr=off") || !strings.Contains(user, "csum='off'") {
		t.Errorf("offloads:\n%s\n%s", kernel, user)
	}
	for _, datapath := range []string{"system", "netdev"} {
		if err := xml.Unmarshal([]byte(libvirtInterface(s, "tap37b25c08-e8", datapath)), new(struct {
			XMLName xml.Name `xml:"interface"`
		})); err != nil {
			t.Errorf("not well formed: %v", err)
		}
	}
	s.Mode = vif.Direct
	if text := advice(s, "system"); !strings.HasPrefix(text, "plugged: tap37b25c08-e8 - br-int\n") {
		t.Error(text)
	}
	s.Guest = "vm1"
	if text := advice(s, "system"); !strings.Contains(text, "ip netns exec vm-vm1 ip link show eth0") || strings.Contains(text, "qemu") {
		t.Error(text)
	}
}

func TestEveryCommandTeachesByExample(t *testing.T) {
	for _, c := range append(Command().Commands(), Command()) {
		if c.Example == "" || c.Long == "" || c.Short == "" {
			t.Errorf("%s has no example or no text", c.CommandPath())
		}
	}
}
