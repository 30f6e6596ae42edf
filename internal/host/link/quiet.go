package link

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Quiet keeps the kernel out of the frames that arrive on a device. A userspace
// switch reads them from a packet socket, which only gets a copy: the kernel
// would go on and answer ARP and ping a second time. Packet sockets come before
// the ingress hook, so the switch still sees everything.
//
// Each device has an nft table of its own (netdev family), so that one can be
// taken away without touching another. It runs nft(8): in plugs, not in paths
// that must be fast. What is so already is not written again: nft reads all that the host has before it writes, which with
// 200 such tables is 0.13 s of CPU, and this table alone to look at it, which is 9 ms.
func (n *Namespace) Quiet(ctx context.Context, dev string) error {
	if n.isQuiet(ctx, dev) {
		return nil
	}
	text := dropTable(dev) + fmt.Sprintf(
		"table netdev %s {\n\tchain ingress {\n\t\ttype filter hook ingress device %q priority -500; policy drop;\n\t}\n}\n",
		quietTable(dev), dev)
	if _, err := n.nft(ctx, text, "-f", "-"); err != nil {
		return fmt.Errorf("silencing %s: %w", dev, err)
	}
	return nil
}

// isQuiet looks for the chain, which the kernel takes away, or disarms until the device is back, with the device.
func (n *Namespace) isQuiet(ctx context.Context, dev string) bool {
	out, err := n.nft(ctx, "", "list", "chain", "netdev", quietTable(dev), "ingress")
	return err == nil && strings.Contains(out, "policy drop;")
}

// Unquiet takes away what Quiet did, whether the devices are still there or not.
func (n *Namespace) Unquiet(ctx context.Context, devs ...string) error {
	var text strings.Builder
	for _, dev := range devs {
		text.WriteString(dropTable(dev))
	}
	if _, err := n.nft(ctx, text.String(), "-f", "-"); err != nil {
		return fmt.Errorf("unsilencing %s: %w", strings.Join(devs, ", "), err)
	}
	return nil
}

func quietTable(dev string) string { return "weft-quiet-" + dev }

// dropTable is nft's way to delete what may not be there.
func dropTable(dev string) string {
	return fmt.Sprintf("add table netdev %[1]s\ndelete table netdev %[1]s\n", quietTable(dev))
}

func (n *Namespace) nft(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A process is in the network namespace of the thread that starts it.
	if err := n.Do(cmd.Run); err != nil {
		return "", fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return out.String(), nil
}
