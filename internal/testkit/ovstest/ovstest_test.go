package ovstest

import (
	"os"
	"strings"
	"testing"
)

func TestTwoSwitchesDoNotSeeEachOther(t *testing.T) {
	a, b := Start(t), Start(t)
	a.AddBridge("br-int")
	b.AddBridge("br-int")
	a.AddPort("br-int", "tap0", 7)
	a.Ofctl("add-flow", "br-int", "in_port=7,actions=drop")
	if got := a.Ofctl("dump-flows", "br-int"); !strings.Contains(got, "actions=drop") {
		t.Errorf("first switch has no flow: %s", got)
	}
	if got := b.Ofctl("dump-flows", "br-int"); strings.Contains(got, "actions=drop") {
		t.Errorf("second switch has the first one's flow: %s", got)
	}
	if got := b.Vsctl("list-ports", "br-int"); got != "" {
		t.Errorf("second switch has ports %q", got)
	}
}

func TestVswitchdComesBackAfterACrashWithoutFlows(t *testing.T) {
	s := Start(t)
	s.AddBridge("br-int")
	s.Ofctl("add-flow", "br-int", "in_port=7,actions=drop")
	s.KillVswitchd()
	s.StartVswitchd()
	s.Vsctl("set", "bridge", "br-int", "other_config:again=1") // waits for the new process
	if got := s.Ofctl("dump-flows", "br-int"); strings.Contains(got, "actions=drop") {
		t.Errorf("flows survived: %s", got)
	}
	if _, err := os.Stat(s.Mgmt("br-int")); err != nil {
		t.Errorf("no OpenFlow socket: %v", err)
	}
}
