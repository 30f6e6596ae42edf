package fair

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"weft/internal/model"
)

// Connections are the open connections of guests to one service, each within its port's limits. It is safe
// for concurrent use.
type Connections struct {
	gate *Gate
	port func(remote netip.Addr) (model.PortID, bool)

	mu   sync.Mutex
	open map[*conn]struct{}
}

// NewConnections returns a Connections without any. port tells whose an address is.
func NewConnections(l Limits, port func(remote netip.Addr) (model.PortID, bool)) *Connections {
	return &Connections{gate: New(l), port: port, open: map[*conn]struct{}{}}
}

// Listener returns a listener that hands on connections of guests that are within their limits. One that is
// refused is reset, so that nothing of it stays.
func (c *Connections) Listener(l net.Listener) net.Listener { return &listener{l, c} }

// Recheck ends the connections of whoever is not at its address any more, and forgets ports that are gone.
// It is to be called after what port answers from has changed and before packets are led by the new state:
// what is still to be sent on such a connection is dropped, so that nobody else can get it.
func (c *Connections) Recheck(here func(model.PortID) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for open := range c.open {
		if id, ok := c.port(open.remote); !ok || id != open.id {
			abort(open.Conn)
		}
	}
	c.gate.Keep(here)
}

// admit takes a connection in, or resets it and returns nil.
func (c *Connections) admit(raw net.Conn) net.Conn {
	a, err := netip.ParseAddrPort(raw.RemoteAddr().String())
	if err == nil {
		remote := a.Addr().Unmap()
		if id, ok := c.port(remote); ok && c.gate.Allow(id, time.Now()) {
			if leave, ok := c.gate.Enter(id); ok {
				open := &conn{Conn: raw, all: c, remote: remote, id: id, leave: leave}
				c.mu.Lock()
				c.open[open] = struct{}{}
				c.mu.Unlock()
				return open
			}
		}
	}
	abort(raw)
	return nil
}

type listener struct {
	net.Listener
	all *Connections
}

// Accept is net.Listener's.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.all.admit(raw); c != nil {
			return c, nil
		}
	}
}

// conn counts against its port's share until it is closed.
type conn struct {
	net.Conn
	all    *Connections
	remote netip.Addr
	id     model.PortID
	leave  func()
	once   sync.Once
}

// Close is net.Conn's.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.all.mu.Lock()
		delete(c.all.open, c)
		c.all.mu.Unlock()
		c.leave()
	})
	return c.Conn.Close()
}

// abort resets a connection: what is not sent yet never is.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}
