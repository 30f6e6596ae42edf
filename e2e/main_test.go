// Package e2e proves Weft as a whole: a server, agents on hosts made of namespaces, guests, and
// real packets between them. The oracle is packets, not tables.
//
// The tests share one lab, made by TestMain with the weft program that is built for it, and each makes networks of its own.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/internal/lab"
	"weft/internal/labcmd"
)

// instance keeps the labs of test runs apart that share a machine: the number in WEFT_E2E_INSTANCE, 0 to 99.
func instance() string { return os.Getenv("WEFT_E2E_INSTANCE") }

// labName is a lab's name of this run; which tells the labs of one run apart, a letter or nothing.
func labName(which string) string { return "we2e" + instance() + which }

// listenAddr is where the n-th lab of this run answers.
func listenAddr(n int) string {
	i, _ := strconv.Atoi(instance())
	return fmt.Sprintf("127.0.0.1:%d", 18600+100*i+n)
}

// world is the lab that the tests share.
type world struct {
	*api
	labcmd.Cloud
	lab  *lab.Lab
	weft string // the program
	dir  string
}

var w *world

func TestMain(m *testing.M) {
	if what := os.Getenv(rawEnv); what != "" {
		if err := speakRaw(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weft-e2e")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	keep := os.Getenv("WEFT_E2E_KEEP") != ""
	if !keep {
		defer os.RemoveAll(dir)
	}
	weft := filepath.Join(dir, "weft")
	if out, err := exec.Command("go", "build", "-o", weft, "weft/cmd/weft").CombinedOutput(); err != nil {
		fmt.Printf("building weft: %v\n%s", err, out)
		return 1
	}
	apiAddr := listenAddr(96)
	plain := &api{url: "http://" + apiAddr}
	w = &world{api: plain, Cloud: plain.cloud(), lab: lab.New(labName(""), ""), weft: weft, dir: dir}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.lab.Down(ctx); err != nil { // what a crashed run may have left
		fmt.Println("removing an old lab:", err)
		return 1
	}
	began := time.Now()
	if err := labcmd.Up(ctx, w.lab, labcmd.Options{Compute: 2, Gateway: 1, Listen: apiAddr, Self: weft, AgentArgs: []string{"--verify-interval", "2s"}}); err != nil {
		fmt.Println("bringing the lab up:", err)
		return 1
	}
	fmt.Printf("lab up in %.2f s\n", time.Since(began).Seconds())
	if !keep {
		defer func() {
			if err := w.lab.Down(context.Background()); err != nil {
				fmt.Println("taking the lab down:", err)
			}
		}()
	}
	code := m.Run()
	if code != 0 {
		w.showLogs(labName(""))
	}
	return code
}

// showLogs prints the end of what server and agents said.
func (w *world) showLogs(lab string) {
	tail := func(name, text string) {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		fmt.Printf("---- %s\n%s\n", name, strings.Join(lines[max(0, len(lines)-25):], "\n"))
	}
	if b, err := os.ReadFile("/run/weft-lab/" + lab + "/server.log"); err == nil {
		tail("server", string(b))
	}
	for _, h := range []string{"compute1", "compute2", "network1", "network2"} {
		if text, err := w.lab.Output(context.Background(), h, "cat", "/var/log/weft-agent.log"); err == nil {
			tail(h, text)
		}
	}
}
