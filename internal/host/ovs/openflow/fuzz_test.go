package openflow

import (
	"testing"

	"weft/internal/host/flow"
)

// FuzzDecode gives the readers of what the switch sends any bytes: they must
// return, whatever it is.
func FuzzDecode(f *testing.F) {
	match := flow.AppendMatch(nil, flow.MatchIPv4().InPort(1))
	stats := append(make([]byte, 48), match...)
	stats[1] = byte(len(stats))
	f.Add(stats)
	f.Add(append(make([]byte, 16), append(match, 0, 0, 1, 2, 3)...))
	port := make([]byte, 40)
	port[5] = 40
	f.Add(port)
	counters := make([]byte, 80)
	counters[1] = 80
	f.Add(counters)
	f.Add([]byte{0, pinPacket, 0, 6, 1, 2, 0, 0, 0, pinCookie, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Add([]byte{0xff, 0xff, 0, 15, 0, 0, 0x23, 0x20})
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = eachFlow(b, func(r RawFlow) {
			s := r.Decode()
			_ = s.Flow.Key()
			_ = s.Flow.String()
		})
		if p, err := decodePacketIn(b); err == nil {
			_ = p.InPort()
		}
		if p, err := decodePacketIn2(b); err == nil {
			_ = p.InPort()
		}
		if _, rest, err := decodePort(b); err == nil && len(rest) >= len(b) {
			t.Fatal("a port without bytes")
		}
		if _, rest, err := decodePortCounters(b); err == nil && len(rest) >= len(b) {
			t.Fatal("counters without bytes")
		}
		_ = decodeError(message{body: b}).Error()
	})
}
