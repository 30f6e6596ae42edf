// Package probe measures round trips between two network namespaces of this machine, over UDP, TCP and ICMP.
//
// Both ends are sockets of this process, made in the namespaces: no program is started for them (but ping, for ICMP), and
// what they cost is the same for all paths. It judges nothing. Called by weft/bench/dataplane.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"time"

	"weft/bench/benchlab"
	"weft/internal/host/link"
)

// Path is two ends and the address at which the first reaches the second.
type Path struct {
	From, To *link.Namespace
	Addr     netip.Addr
}

// Port is the UDP and TCP port at which the second end answers.
const Port = 5300

const (
	size     = 18                     // bytes of UDP payload, which makes the smallest Ethernet frame
	late     = 100 * time.Millisecond // then a packet is taken for lost
	patience = 20 * time.Second       // then the path is
)

// UDP returns how long each of n datagrams took there and back, one after the other.
func (p Path) UDP(n int) (took []time.Duration, err error) {
	c, stop, err := p.udp()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	buf, began := make([]byte, size), time.Now()
	for len(took) < n {
		if time.Since(began) > patience {
			return nil, fmt.Errorf("UDP to %s: %d of %d answers in %s", p.Addr, len(took), n, patience)
		}
		sent := time.Now()
		if _, err := c.Write(buf); err != nil {
			return nil, err
		}
		switch err := read(c, buf); {
		case err == nil:
			took = append(took, time.Since(sent))
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, err
		}
	}
	return took, nil
}

// Packets keeps a window of datagrams under way for a time and returns how many packets a second have passed, both
// directions added. A window is what two ends without a switch between them would keep in their buffers: it never fills
// a queue so that the switch's work is thrown away, as a blind flood does.
func (p Path) Packets(window int, d time.Duration) (perSecond float64, err error) {
	c, stop, err := p.udp()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	buf := make([]byte, size)
	send := func(n int) error {
		for range n {
			if _, err := c.Write(buf); err != nil {
				return err
			}
		}
		return nil
	}
	if err := send(window); err != nil {
		return 0, err
	}
	n, began := 0, time.Now()
	for time.Since(began) < d {
		switch err := read(c, buf); {
		case errors.Is(err, os.ErrDeadlineExceeded): // all of them are lost
			if err := send(window); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		default:
			n++
			if err := send(1); err != nil {
				return 0, err
			}
		}
	}
	return 2 * float64(n) / time.Since(began).Seconds(), nil
}

func read(c *net.UDPConn, buf []byte) error {
	if err := c.SetReadDeadline(time.Now().Add(late)); err != nil {
		return err
	}
	_, _, err := c.ReadFromUDPAddrPort(buf)
	return err
}

// udp opens both ends; the second one returns what comes.
func (p Path) udp() (c *net.UDPConn, stop func() error, err error) {
	var s *net.UDPConn
	err = p.To.Do(func() (err error) {
		s, err = net.ListenUDP("udp4", &net.UDPAddr{Port: Port})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	err = p.From.Do(func() (err error) {
		c, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Addr, Port)))
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2*size)
		for {
			n, from, err := s.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			s.WriteToUDPAddrPort(buf[:n], from) // one that is lost is noticed by the other end
		}
	}()
	return c, func() error {
		err := errors.Join(c.Close(), s.Close())
		<-done
		return err
	}, nil
}

// TCP returns how long each of n connections took to open, and how long each of as many bytes took there and back on the
// last of them.
func (p Path) TCP(n int) (opened, took []time.Duration, err error) {
	var s net.Listener
	err = p.To.Do(func() (err error) {
		s, err = net.Listen("tcp4", fmt.Sprintf(":%d", Port))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			echo(c)
		}
	}()
	defer func() { err = errors.Join(err, s.Close()); <-done }()
	for range n - 1 {
		c, d, err := p.connect()
		if err != nil {
			return nil, nil, err
		}
		opened = append(opened, d)
		if err := c.Close(); err != nil {
			return nil, nil, err
		}
	}
	c, d, err := p.connect()
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	opened = append(opened, d)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, nil, err
	}
	buf := make([]byte, 1)
	for range n {
		sent := time.Now()
		if _, err := c.Write(buf); err != nil {
			return nil, nil, err
		}
		if _, err := c.Read(buf); err != nil {
			return nil, nil, err
		}
		took = append(took, time.Since(sent))
	}
	return opened, took, nil
}

// connect opens a connection. Its end is a reset: no port stays taken behind it.
func (p Path) connect() (c *net.TCPConn, took time.Duration, err error) {
	err = p.From.Do(func() error {
		began := time.Now()
		d := net.Dialer{Timeout: patience}
		any, err := d.Dial("tcp4", netip.AddrPortFrom(p.Addr, Port).String())
		if err != nil {
			return err
		}
		took, c = time.Since(began), any.(*net.TCPConn)
		return c.SetLinger(0)
	})
	return c, took, err
}

// echo returns what comes until the other end is gone.
func echo(c net.Conn) {
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return
	}
	buf := make([]byte, 1)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := c.Write(buf); err != nil {
			return
		}
	}
}

var pinged = regexp.MustCompile(`time=([0-9.]+) ms`)

// ICMP returns how long n echoes took, each sent when the one before is answered (ping -A). Lost ones are not among them.
func (p Path) ICMP(ctx context.Context, n int) ([]time.Duration, error) {
	text, err := benchlab.Run(ctx, p.From, "ping", "-n", "-A", "-c", strconv.Itoa(n), "-W", "1", p.Addr.String())
	var took []time.Duration
	for _, m := range pinged.FindAllStringSubmatch(text, -1) {
		ms, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, err
		}
		took = append(took, time.Duration(ms*float64(time.Millisecond)))
	}
	if len(took) < n/2 {
		return nil, errors.Join(fmt.Errorf("ping %s: %d of %d answered", p.Addr, len(took), n), err)
	}
	return took, nil
}
