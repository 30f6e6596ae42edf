package dispatch

import "github.com/prometheus/client_golang/prometheus"

// progressCollector shows how far each host that has a session is.
type progressCollector struct {
	s                     *Server
	sent, applied, failed *prometheus.Desc
}

func newProgressCollector(s *Server) *progressCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("weft_dispatch_host_"+name, help, []string{"host"}, nil)
	}
	return &progressCollector{
		s:       s,
		sent:    desc("sent_revision", "Revision that the host was told of."),
		applied: desc("applied_revision", "Revision up to which the host is programmed, as it says."),
		failed:  desc("failed_ports", "Ports that the host could not apply."),
	}
}

func (c *progressCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.sent
	out <- c.applied
	out <- c.failed
}

func (c *progressCollector) Collect(out chan<- prometheus.Metric) {
	c.s.mu.RLock()
	defer c.s.mu.RUnlock()
	for host, ses := range c.s.alive {
		p, _ := ses.progress()
		gauge := func(d *prometheus.Desc, v float64) {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, host)
		}
		gauge(c.sent, float64(p.Sent))
		gauge(c.applied, float64(p.Applied))
		gauge(c.failed, float64(p.Failed))
	}
}
