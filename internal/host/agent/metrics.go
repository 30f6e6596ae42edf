package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"weft/internal/host/iptables"
)

// metrics are the agent's figures for /metrics.
type metrics struct {
	sessionUp   prometheus.Gauge
	revision    prometheus.Gauge
	resumes     prometheus.Counter
	ports       *prometheus.GaugeVec
	flows       *prometheus.GaugeVec
	flowMods    *prometheus.CounterVec
	repairs     *prometheus.CounterVec
	passes      prometheus.Counter
	passSeconds prometheus.Histogram
	failures    prometheus.Counter
	dhcpReplies prometheus.Counter
	dhcpDropped prometheus.Counter
	cuts        prometheus.Counter
	metadata    *prometheus.CounterVec
	names       *prometheus.CounterVec

	routers      prometheus.Gauge
	routerWrites prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, ovsdbWrites func() uint64, fw func() iptables.Stats) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "weft_agent_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_agent_" + name, Help: help})
	}
	m := &metrics{
		sessionUp:   gauge("session_up", "1 while the agent has a session with a server."),
		revision:    gauge("view_revision", "Revision of the view that the host is kept at."),
		resumes:     counter("session_resumes_total", "Sessions that began where the host's view was, without a whole view."),
		ports:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weft_agent_ports", Help: "Ports bound to the host, by what became of them."}, []string{"state"}),
		flows:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weft_agent_flows", Help: "Flows that a bridge should have."}, []string{"bridge"}),
		flowMods:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_agent_flow_mods_total", Help: "Flows added to and deleted from a bridge."}, []string{"bridge"}),
		repairs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_agent_repairs_total", Help: "Times that something on the host was not as the agent had left it and was put right."}, []string{"what"}),
		passes:      counter("passes_total", "Comparisons of the host with the view."),
		passSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weft_agent_pass_seconds", Help: "Duration of a comparison with its writes.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		failures:    counter("failures_total", "Writes to the host that failed and are tried again."),
		dhcpReplies: counter("dhcp_replies_total", "Answers to guests: DHCP, router and neighbour solicitations."),
		dhcpDropped: counter("dhcp_dropped_total", "Questions of guests not answered: malformed, forged, too many."),
		cuts:        counter("connections_cut_total", "Established connections ended because a rule or an address went."),

		routers:      gauge("routers", "Routers that the host serves."),
		routerWrites: counter("router_writes_total", "Changes of namespaces, devices, addresses, routes and translation of routers."),
	}
	m.metadata = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_agent_metadata_answers_total", Help: "Answers of the metadata service, by HTTP status."}, []string{"status"})
	m.names = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_agent_dns_answers_total", Help: "Answers to questions for names, by their code."}, []string{"rcode"})
	if reg == nil {
		return m
	}
	stat := func(name, help string, f func(iptables.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "weft_agent_" + name, Help: help}, func() float64 { return float64(f(fw())) })
	}
	reg.MustRegister(m.sessionUp, m.revision, m.resumes, m.ports, m.flows, m.flowMods, m.repairs, m.passes, m.passSeconds, m.failures, m.dhcpReplies, m.dhcpDropped, m.cuts, m.metadata, m.names, m.routers, m.routerWrites,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "weft_agent_ovsdb_writes_total", Help: "Transactions that changed the switch's database."}, func() float64 { return float64(ovsdbWrites()) }),
		stat("firewall_writes_total", "Commands and messages that changed iptables or ipsets.", func(s iptables.Stats) uint64 { return s.Writes }),
		stat("firewall_lines_total", "Lines given to iptables-restore.", func(s iptables.Stats) uint64 { return s.Lines }),
		stat("firewall_members_total", "Members added to and removed from sets.", func(s iptables.Stats) uint64 { return s.Members }))
	return m
}

// session notes whether there is a session.
func (m *metrics) session(up bool) {
	if up {
		m.sessionUp.Set(1)
	} else {
		m.sessionUp.Set(0)
	}
}
