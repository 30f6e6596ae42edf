package openflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// conn is one connection from its handshake to its end.
type conn struct {
	nc net.Conn
	r  *bufio.Reader

	writing sync.Mutex // one whole message after the other

	heard atomic.Bool   // something came since the last probe
	lost  chan struct{} // closed at the end

	mu    sync.Mutex
	calls []*call // few at a time
}

// call waits for answers to the transaction ids first to last.
type call struct {
	first, last uint32
	answer      func(message) (done bool) // by the reading goroutine only
	done        chan struct{}
}

// handshakeTime bounds the wait for the switch's first words.
const handshakeTime = 10 * time.Second

// handshake agrees on OpenFlow 1.4 and asks for packet-ins and port changes: a
// management connection gets none before miss_send_len is set.
func (cn *conn) handshake(c *Client) error {
	if err := cn.nc.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	hello := begin(nil, typeHello, c.xids(1))
	hello = append(hello, 0, 1, 0, 8) // version bitmap
	hello = end(be.AppendUint32(hello, 1<<version14), 0)
	if err := cn.write(hello); err != nil {
		return err
	}
	m, err := readMessage(cn.r)
	if err != nil {
		return err
	}
	if m.kind != typeHello {
		return fmt.Errorf("message type %d in place of hello", m.kind)
	}
	b := end(append(begin(nil, typeSetConfig, c.xids(1)), 0, 0, 0xff, 0xff), 0)
	at := len(b)
	b = appendNX(b, c.xids(1), nxtSetPacketInFormat)
	b = end(be.AppendUint32(b, packetIn2Format), at)
	// The answer to an echo proves that the switch took the version.
	at = len(b)
	b = end(begin(b, typeEchoRequest, c.xids(1)), at)
	if err := cn.write(b); err != nil {
		return err
	}
	for m.kind != typeEchoReply {
		if m, err = readMessage(cn.r); err != nil {
			return err
		}
		if m.kind == typeError {
			return decodeError(m)
		}
	}
	return cn.nc.SetDeadline(time.Time{})
}

// probe ends the connection if the switch is silent and does not answer an echo.
func (cn *conn) probe(c *Client) {
	tick := time.NewTicker(c.probe)
	defer tick.Stop()
	asked := false
	for {
		select {
		case <-cn.lost:
			return
		case <-tick.C:
		}
		switch {
		case cn.heard.Swap(false):
			asked = false
		case asked:
			c.log.Warn("openflow switch is silent", "for", 2*c.probe)
			cn.nc.Close()
			return
		default:
			asked = true
			if err := cn.write(end(begin(nil, typeEchoRequest, c.xids(1)), 0)); err != nil {
				cn.nc.Close()
				return
			}
		}
	}
}

// write sends whole messages.
func (cn *conn) write(b []byte) error {
	cn.writing.Lock()
	defer cn.writing.Unlock()
	_, err := cn.nc.Write(b)
	if err != nil {
		cn.nc.Close() // half a message may be out
	}
	return err
}

func (cn *conn) begin(first, last uint32, answer func(message) bool) *call {
	k := &call{first: first, last: last, answer: answer, done: make(chan struct{})}
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.calls = append(cn.calls, k)
	return k
}

// forget ends a call; its answer function is not called any more.
func (cn *conn) forget(k *call) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	cn.calls = slices.DeleteFunc(cn.calls, func(x *call) bool { return x == k })
}

// deliver gives a message to the call it answers, if there is one.
func (cn *conn) deliver(m message) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	for i, k := range cn.calls {
		if m.xid-k.first > k.last-k.first {
			continue
		}
		if k.answer(m) {
			close(k.done)
			cn.calls = slices.Delete(cn.calls, i, i+1)
		}
		return true
	}
	return false
}

// wait returns when the call has all its answers.
func (cn *conn) wait(ctx context.Context, k *call) error {
	select {
	case <-k.done:
		return nil
	default:
	}
	select {
	case <-k.done:
		return nil
	case <-cn.lost:
		return ErrDisconnected
	case <-ctx.Done():
		return fmt.Errorf("waiting for the switch: %w", context.Cause(ctx))
	}
}

// fail ends all calls.
func (cn *conn) fail() {
	close(cn.lost)
	cn.nc.Close()
}

var errShort = errors.New("openflow: truncated message")
