// Package unixctl runs a command inside ovs-vswitchd, as ovs-appctl(8) does,
// without a process: above all ofproto/trace, which tells where a packet goes.
//
// It gives back the text of the command and does not interpret it. Flows are
// read and written by package openflow, not by this.
package unixctl

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Client calls one daemon. It holds no connection: each call makes its own, so
// that it follows a daemon that was started again.
type Client struct {
	runDir string
	daemon string
}

// New returns a client for ovs-vswitchd with its files in runDir, which is
// /run/openvswitch on a host.
func New(runDir string) *Client { return &Client{runDir: runDir, daemon: "ovs-vswitchd"} }

// Error is a command that the daemon refused, in its words.
type Error struct {
	Command string
	Text    string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Command, e.Text) }

// Trace returns what ofproto/trace says about a packet on a bridge. The packet
// is given as a flow in the syntax of ovs-ofctl(8): "in_port=1,ip,nw_dst=10.0.0.5".
func (c *Client) Trace(ctx context.Context, bridge, packet string) (string, error) {
	return c.Call(ctx, "ofproto/trace", bridge, packet)
}

// Call runs a command and returns its text. A command that fails gives an *Error.
func (c *Client) Call(ctx context.Context, command string, args ...string) (string, error) {
	socket, err := c.socket()
	if err != nil {
		return "", err
	}
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", fmt.Errorf("connecting to %s: %w", c.daemon, err)
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if args == nil {
		args = []string{}
	}
	request := struct {
		Method string   `json:"method"`
		Params []string `json:"params"`
		ID     int      `json:"id"`
	}{command, args, 0}
	if err := json.NewEncoder(nc).Encode(request); err != nil {
		return "", fmt.Errorf("sending %s: %w", command, err)
	}
	var reply struct {
		Result *string `json:"result"`
		Error  any     `json:"error"`
	}
	if err := json.NewDecoder(nc).Decode(&reply); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("reading the answer to %s: %w", command, err)
	}
	switch {
	case reply.Error != nil:
		return "", &Error{Command: command, Text: strings.TrimSpace(fmt.Sprint(reply.Error))}
	case reply.Result == nil:
		return "", fmt.Errorf("%s: answer without a result", command)
	}
	return *reply.Result, nil
}

// socket finds the daemon's socket by its pid file.
func (c *Client) socket() (string, error) {
	text, err := os.ReadFile(filepath.Join(c.runDir, c.daemon+".pid"))
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", c.daemon, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return "", fmt.Errorf("finding %s: pid file: %w", c.daemon, err)
	}
	return filepath.Join(c.runDir, fmt.Sprintf("%s.%d.ctl", c.daemon, pid)), nil
}
