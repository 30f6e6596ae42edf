package agent

import (
	"testing"

	"weft/internal/host/hoststate"
	"weft/internal/host/pipeline"
	"weft/internal/model"
)

// TestResults_aLegSaysWhetherTheHostAnswersForItsRouter: what is not wired or failed says so, whoever answers.
func TestResults_aLegSaysWhetherTheHostAnswersForItsRouter(t *testing.T) {
	router := model.RouterID{UUID: model.UUID{4, 15: 1}}
	leg := &model.PortView{ID: model.PortID{UUID: model.UUID{15: 1}}, DeviceOwner: model.OwnerRouterGateway, DeviceID: router.String()}
	guest := &model.PortView{ID: model.PortID{UUID: model.UUID{15: 2}}}
	ports := []hoststate.State{{Port: leg, Leg: true}, {Port: guest}}
	for _, c := range []struct {
		rule          string
		active, wired bool
		fail          string
		want          model.ReportState
	}{
		{rule: "it answers", active: true, wired: true, want: model.ReportActive},
		{rule: "it is ready to", wired: true, want: model.ReportStandby},
		{rule: "it is not yet ready to", want: model.ReportWaiting},
		{rule: "it could not", wired: true, fail: "no namespace", want: model.ReportFailed},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r := newResults(ports)
			r.wired(guest.ID)
			if c.wired {
				r.wired(leg.ID)
			}
			if c.fail != "" {
				r.fail(leg.ID, c.fail)
			}
			got := r.reports(&hoststate.Joined{Ports: ports, Pipeline: pipeline.Input{Routers: map[model.RouterID]pipeline.Router{router: {Active: c.active}}}})
			if got[leg.ID].State != c.want || got[guest.ID].State != model.ReportActive {
				t.Errorf("leg %s, guest %s", got[leg.ID].State, got[guest.ID].State)
			}
		})
	}
}
