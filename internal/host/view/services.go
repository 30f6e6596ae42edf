package view

import (
	"fmt"

	"weft/internal/host/flow"
	"weft/internal/host/pipeline"
	"weft/internal/host/services"
	"weft/internal/host/standin"
)

// Services are what the host answers its guests in a namespace of its own.
type Services struct {
	Device        // its end on br-int
	Netns  string `json:"netns"`
	There  bool   `json:"there"` // the namespace is
	// Metadata and DNS are what guests have sent to them.
	Metadata Count `json:"metadata"`
	DNS      Count `json:"dns"`
}

// services returns the services of the host, nil when there is nothing of them.
func (f *facts) services() *Services {
	s := &Services{Device: f.hostDevice(standin.Device, RoleServices), Netns: services.Netns, There: f.served}
	if !s.Present && !s.There {
		return nil
	}
	for _, st := range f.intFlows {
		if st.Flow.Table != pipeline.IntServices || len(st.Flow.Actions) == 0 {
			continue
		}
		for port, into := range map[uint64]*Count{standin.MetadataPort: &s.Metadata, standin.DNSPort: &s.DNS} {
			for _, field := range []flow.Field{flow.TCPDst, flow.UDPDst} {
				if v, ok := st.Flow.Match.Get(field); ok && v.Uint() == port {
					*into = into.plus(count(st))
				}
			}
		}
	}
	return s
}

// servicesLane says what there is to say of the services.
func servicesLane(s *Services) lane {
	l := lane{
		name: "services", devices: []Device{s.Device}, plugged: s.OFPort > 0, plug: []string{portNumber(s.OFPort)},
		details: []string{"namespace " + s.Netns, fmt.Sprintf("%s packets to metadata, %s to DNS", number(s.Metadata.Packets), number(s.DNS.Packets))},
	}
	if !s.There {
		l.state, l.reason = Waiting, "the namespace is not there: the agent makes it"
	}
	return l
}
