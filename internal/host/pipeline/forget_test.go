package pipeline

import (
	"fmt"
	"strings"
	"testing"

	"weft/internal/host/flow"
	"weft/internal/model"
)

func TestForgetTakesWhatOneNetworkLearned(t *testing.T) {
	in := scenarios()["open"].network(2, model.TypeGRE, 200).port(2, 31).peer(2, 41, "10.0.1.21")
	in.Ports[portID(31)].PortSecurity = false
	l := newLab(t, in)
	nested := mac(0xabc)
	for key, dst := range map[int]model.MAC{100: mac(11), 200: mac(31)} {
		l.trace("br-tun", fromTunnel(2, key, nested, dst), "-generate")
	}
	count := func(bridge string, table uint8) int {
		return strings.Count(l.Ofctl("dump-flows", bridge, fmt.Sprintf("cookie=%#x/%#x,table=%d",
			Cookie(model.KindLearned, model.UUID{}), CookieKindMask, table)), "\n cookie=")
	}
	total := func() [2]int { return [2]int{count("br-int", IntLearned), count("br-tun", TunUnicast)} }
	if got := total(); got != [2]int{2, 2} {
		t.Fatalf("%d flows learned", got)
	}
	for bridge, f := range pair(Forget(1)) {
		match, _, _ := strings.Cut(f.String(), " actions=")
		_, match, _ = strings.Cut(match, fmt.Sprintf("table=%d, ", f.Table))
		_, match, _ = strings.Cut(match, "priority=0,")
		l.Ofctl("del-flows", bridge, fmt.Sprintf("cookie=%#x/%#x,table=%d,%s", f.Cookie, CookieKindMask, f.Table, match))
	}
	if got := total(); got != [2]int{1, 1} {
		t.Errorf("%d flows are left, want those of the other network", got)
	}
	// What was told stays.
	l.check(t, []probe{{"a peer is still known", "", ip(11, mac(11), mac(21)), "gre-0a000115"}})
}

func pair(brInt, brTun flow.Flow) map[string]flow.Flow {
	return map[string]flow.Flow{"br-int": brInt, "br-tun": brTun}
}
