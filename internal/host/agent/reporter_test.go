package agent

import (
	"testing"

	"weft/internal/model"
)

func rep(n byte, revision int64, s model.ReportState) model.Report {
	return model.Report{PortID: model.PortID{UUID: model.UUID{15: n}}, Revision: revision, State: s}
}

func all(reports ...model.Report) map[model.PortID]model.Report {
	m := map[model.PortID]model.Report{}
	for _, r := range reports {
		m[r.PortID] = r
	}
	return m
}

func TestReporter_saysEachStateOnce(t *testing.T) {
	r := newReporter()
	r.say(all(rep(1, 1, model.ReportActive)))
	if got := r.take(); len(got) != 1 {
		t.Fatalf("said %v", got)
	}
	r.say(all(rep(1, 1, model.ReportActive)))
	if got := r.take(); len(got) != 0 {
		t.Fatalf("said again %v", got)
	}
	r.say(all(rep(1, 2, model.ReportActive)))
	if got := r.take(); len(got) != 1 || got[0].Revision != 2 {
		t.Fatalf("a newer revision: said %v", got)
	}
}

func TestReporter_aNewSessionHearsEverythingAnew(t *testing.T) {
	r := newReporter()
	r.say(all(rep(1, 1, model.ReportActive), rep(2, 1, model.ReportWaiting)))
	r.take()
	r.forget()
	if got := r.take(); len(got) != 2 {
		t.Fatalf("said %v", got)
	}
}

func TestReporter_whatWasNotSentIsSaidAgainUnlessThereIsNewer(t *testing.T) {
	r := newReporter()
	r.say(all(rep(1, 1, model.ReportWaiting), rep(2, 1, model.ReportWaiting)))
	lost := r.take()
	r.say(all(rep(1, 1, model.ReportActive), rep(2, 1, model.ReportWaiting)))
	r.putBack(lost)
	got := all(r.take()...)
	if len(got) != 2 || got[rep(1, 1, "").PortID].State != model.ReportActive {
		t.Fatalf("said %v", got)
	}
}

func TestReporter_aStateThatWentBackIsNotSaid(t *testing.T) {
	r := newReporter()
	r.say(all(rep(1, 1, model.ReportActive)))
	r.take()
	r.say(all(rep(1, 1, model.ReportWaiting)))
	r.say(all(rep(1, 1, model.ReportActive))) // before anything was sent
	if got := r.take(); len(got) != 0 {
		t.Fatalf("said %v", got)
	}
}

func TestReporter_acknowledgesEachStepOnce(t *testing.T) {
	r := newReporter()
	r.applied(ack{7, 1})
	if a := r.takeAck(); a == nil || *a != (ack{7, 1}) {
		t.Fatalf("acknowledged %v", a)
	}
	r.applied(ack{7, 1})
	if a := r.takeAck(); a != nil {
		t.Fatalf("acknowledged again %v", *a)
	}
	r.forget() // a new session
	r.applied(ack{7, 1})
	if a := r.takeAck(); a == nil {
		t.Fatal("a new session was told nothing")
	}
}
