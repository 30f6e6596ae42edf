package agent

import (
	"testing"

	"weft/internal/host/ovs/vsw"
	"weft/internal/host/standin"
)

// A new device under the old name: the switch's port goes, ovs-vswitchd sees that, and then the port comes.
func TestServices_aNewDeviceIsPluggedInAfterTheOldOneIsGone(t *testing.T) {
	s := &localServices{fresh: true}
	state := func(plugged bool, next, current int64) *vsw.State {
		var ports []vsw.Port
		if plugged {
			ports = []vsw.Port{{Name: standin.Device}}
		}
		return vsw.NewState(vsw.Root{NextCfg: next, CurCfg: current}, nil, ports, nil)
	}
	for _, c := range []struct {
		what         string
		state        *vsw.State
		taken, wants bool
		then         func()
	}{
		{"the old port is there", state(true, 7, 7), true, false, nil},
		{"the transaction failed", state(true, 7, 7), true, false, func() { s.unplugged(8) }},
		{"ovs-vswitchd has not looked", state(false, 8, 7), false, false, nil},
		{"others have changed something meanwhile", state(false, 9, 7), false, false, nil},
		{"ovs-vswitchd has looked", state(false, 9, 8), false, true, nil},
		{"the new port is there", state(true, 10, 9), false, true, nil},
		{"somebody deletes the port", state(false, 11, 10), false, true, nil},
	} {
		d := vsw.Desired{Ports: []vsw.DesiredPort{{Name: "patch-tun"}, {Name: standin.Device}}}
		if taken := s.unplug(c.state, &d); taken != c.taken || (len(d.Ports) == 2) != c.wants {
			t.Errorf("%s: to be taken away %v, wanted %v", c.what, taken, len(d.Ports) == 2)
		}
		if c.then != nil {
			c.then()
		}
	}
}
