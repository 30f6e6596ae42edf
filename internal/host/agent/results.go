package agent

import (
	"errors"

	"weft/internal/host/firewall"
	"weft/internal/host/hoststate"
	"weft/internal/model"
)

// results is what became of each port in one pass.
type results struct {
	failed map[model.PortID]string // why it passes nothing
	notes  map[model.PortID]string // what of it is left out
	active map[model.PortID]bool
}

func newResults(ports []hoststate.State) *results {
	r := &results{failed: map[model.PortID]string{}, notes: map[model.PortID]string{}, active: map[model.PortID]bool{}}
	for i := range ports {
		if ports[i].Problem != "" {
			r.failed[ports[i].Port.ID] = ports[i].Problem
		}
	}
	return r
}

func (r *results) fail(id model.PortID, why string) {
	if r.failed[id] == "" {
		r.failed[id] = why
	}
}

func (r *results) note(id model.PortID, what string) {
	if r.notes[id] != "" {
		what = r.notes[id] + "; " + what
	}
	r.notes[id] = what
}

// firewall takes over what a firewall driver says of ports.
func (r *results) firewall(problems map[model.PortID]error) {
	for id, problem := range problems {
		var shut *firewall.PortError
		if errors.As(problem, &shut) {
			r.fail(id, problem.Error())
		} else {
			r.note(id, problem.Error())
		}
	}
}

func (r *results) wired(id model.PortID) { r.active[id] = true }

// reports are the words for the server, one a port.
func (r *results) reports(j *hoststate.Joined) map[model.PortID]model.Report {
	out := make(map[model.PortID]model.Report, len(j.Ports))
	for i := range j.Ports {
		p := j.Ports[i].Port
		rep := model.Report{PortID: p.ID, Revision: p.Revision, State: model.ReportWaiting, Error: r.notes[p.ID]}
		switch {
		case r.failed[p.ID] != "":
			rep.State, rep.Error = model.ReportFailed, r.failed[p.ID]
		case r.active[p.ID] && j.StandsBy(p):
			rep.State = model.ReportStandby
		case r.active[p.ID]:
			rep.State = model.ReportActive
		}
		out[p.ID] = rep
	}
	return out
}

// count sets the metrics of ports by state.
func (r *results) count(m *metrics) {
	m.ports.WithLabelValues("active").Set(float64(len(r.active)))
	m.ports.WithLabelValues("failed").Set(float64(len(r.failed)))
}
