package benchlab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weft/internal/host/link"
)

// Iperf returns what one TCP stream from one namespace to another carries, in Mbit/s as they arrive (iperf3).
func Iperf(ctx context.Context, from, to *link.Namespace, addr netip.Addr, seconds int) (float64, error) {
	serving, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Run(serving, to, "iperf3", "-s", "-1")
	}()
	defer func() { stop(); <-done }()
	err := Wait(ctx, "the guest listens", 10*time.Millisecond, func() (bool, error) {
		text, err := Run(ctx, to, "ss", "-Htln", "sport = 5201")
		return strings.Contains(text, ":5201"), err
	})
	if err != nil {
		return 0, err
	}
	text, err := Run(ctx, from, "iperf3", "-c", addr.String(), "-t", strconv.Itoa(seconds), "-J")
	if err != nil {
		return 0, fmt.Errorf("%w: %.500s", err, text)
	}
	var out struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return 0, err
	}
	return out.End.Received.Rate / 1e6, nil
}
