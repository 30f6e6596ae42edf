package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/bench/apibench"
	"weft/bench/benchlab"
)

// bareCommand makes this program a bare HTTP server: what a machine can do at most when a request needs no work at all.
const bareCommand = "bare-http-server"

// bareServer is such a server in its own process.
type bareServer struct {
	cmd  *exec.Cmd
	hold io.Closer // the server ends when this is closed, or with this process
	api  *apibench.Client
}

// startBare starts a bare HTTP server that answers everything with a body of some bytes.
func startBare(size int) (*bareServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, bareCommand, strconv.Itoa(size))
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	s := &bareServer{cmd: cmd, hold: hold, api: apibench.New("http://"+strings.TrimSpace(addr), 8)}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting a bare HTTP server: %w", err), s.stop())
	}
	return s, nil
}

func (s *bareServer) stop() error {
	s.api.Close()
	s.hold.Close()
	return s.cmd.Wait()
}

// serveBare is that process: it says its address on standard output and ends with its standard input.
func serveBare(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("%s %s: want a number of bytes", bareCommand, size)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	body, length := bytes.Repeat([]byte{'x'}, n), []string{size}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = length
		w.Write(body)
	}))
	fmt.Println(l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// floor measures what the machine's own part of a request for a port is: HTTP without any work, from the same clients and
// with a body of the same size. gets is how many ports a second were read.
func (l *requestLoad) floor(clients, requests int, gets float64) error {
	body, err := l.api.Do(l.ctx, "GET", "/ports/"+l.ports[0], http.StatusOK, nil)
	if err != nil {
		return err
	}
	s, err := startBare(len(body))
	if err != nil {
		return err
	}
	_, wall, err := apibench.Step(clients, requests, func(int) error {
		_, err := s.api.Do(l.ctx, "GET", "/ports/"+l.ports[0], http.StatusOK, nil)
		return err
	})
	if err := errors.Join(err, s.stop()); err != nil {
		return err
	}
	bare := float64(requests) / wall.Seconds()
	who := fmt.Sprintf("%d client%s", clients, plural(clients))
	l.rate("  a bare HTTP server, body of the same size, "+who+": rate", bare, "", 0)
	l.add(figure{name: "  port get ÷ bare HTTP server, " + who, measured: benchlab.Number(gets / bare)})
	if clients == 1 {
		least := wall/time.Duration(requests) + l.sync
		l.rate("  port create at most: bare HTTP and one fdatasync, "+who+": rate", 1/least.Seconds(), "", 0)
	}
	return nil
}

// What a write to the journal is at least: a record of about this size at the end of what is written of a file that has
// its space already.
const (
	syncedBytes = 600
	fileBytes   = 64 << 20
	syncs       = 1000
)

// syncTime measures how long one such write takes to be durable in a directory.
func syncTime(ctx context.Context, dir string) (p50 time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "fdatasync"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, fileBytes); err != nil {
		return 0, fmt.Errorf("reserving space: %w", err)
	}
	record := bytes.Repeat([]byte{'x'}, syncedBytes)
	took := make([]time.Duration, syncs)
	for i := range took {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, err := f.Write(record); err != nil {
			return 0, err
		}
		began := time.Now()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	return benchlab.Percentile(took, .5), nil
}
