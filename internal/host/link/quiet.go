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
// that must be fast.
func (n *Namespace) Quiet(ctx context.Context, dev string) error {
	text := dropTable(dev) + fmt.Sprintf(
		"table netdev %s {\n\tchain ingress {\n\t\ttype filter hook ingress device %q priority -500; policy drop;\n\t}\n}\n",
		quietTable(dev), dev)
	if err := n.nft(ctx, text); err != nil {
		return fmt.Errorf("silencing %s: %w", dev, err)
	}
	return nil
}

// Unquiet takes away what Quiet did, whether the devices are still there or not.
func (n *Namespace) Unquiet(ctx context.Context, devs ...string) error {
	var text strings.Builder
	for _, dev := range devs {
		text.WriteString(dropTable(dev))
	}
	if err := n.nft(ctx, text.String()); err != nil {
		return fmt.Errorf("unsilencing %s: %w", strings.Join(devs, ", "), err)
	}
	return nil
}

func quietTable(dev string) string { return "weft-quiet-" + dev }

// dropTable is nft's way to delete what may not be there.
func dropTable(dev string) string {
	return fmt.Sprintf("add table netdev %[1]s\ndelete table netdev %[1]s\n", quietTable(dev))
}

func (n *Namespace) nft(ctx context.Context, text string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// A process is in the network namespace of the thread that starts it.
	err := n.Do(cmd.Run)
	if err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
