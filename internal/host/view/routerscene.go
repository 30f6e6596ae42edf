package view

import (
	"fmt"
	"strings"
)

// shownTranslations is how many translations of a kind, and how many routes, are drawn of a router unless all are
// asked for; of more than fullLanes routers their numbers alone.
const shownTranslations = 5

// routerWords is what there is to say of a router.
type routerWords struct {
	head  lane // state, name, duty and gateways, what is wrong
	netns string
	legs  []legWords
	rows  []routerRow
}

// legWords is what there is to say of a leg.
type legWords struct {
	device  Device
	mac     string
	addrs   string
	plugged bool
	plug    []string
}

// routerRow is a line in a router's namespace: a translation or a route.
type routerRow struct{ kind, what, count string }

// composeRouters chooses what to say of routers.
func composeRouters(h *Host, o Options) (shown []routerWords, hidden string) {
	routers, rest := choose(h.Routers, o.All, func(r Router) State { return r.State })
	for i := range routers {
		shown = append(shown, routerOf(h, &routers[i], o, len(routers) > fullLanes && !o.All))
	}
	var states []State
	for _, r := range rest {
		states = append(states, r.State)
	}
	return shown, hiddenOf(states, "router")
}

func routerOf(h *Host, r *Router, o Options, short bool) routerWords {
	w := routerWords{head: lane{state: r.State, name: "router " + shortID(r.ID), reason: r.Reason}, netns: r.Netns}
	if d := dutyOf(r); d != "" {
		w.head.details = append(w.head.details, d)
	}
	for i, g := range r.Gateways {
		if len(r.Gateways) > 1 {
			w.head.details = append(w.head.details, fmt.Sprintf("%d %s (%s)", i+1, g.Host, g.Seen))
		}
	}
	for i := range r.Legs {
		if i == shownPorts && !o.All {
			w.rows = append(w.rows, routerRow{what: fmt.Sprintf("... and %d more legs (--all shows them)", len(r.Legs)-i)})
			break
		}
		w.legs = append(w.legs, legOf(h, &r.Legs[i]))
	}
	if short {
		w.rows = append(w.rows, routerRow{what: strings.Join([]string{
			plural(len(r.Floating), "floating IP"), plural(len(r.Forwards), "forwarding"), plural(len(r.Routes), "route"),
		}, ", ") + " (--all shows them)"})
		return w
	}
	w.rows = append(w.rows, translationRows(r, o.All)...)
	return w
}

// dutyOf says what this host is to a router.
func dutyOf(r *Router) string {
	switch {
	case r.Duty == Answers && len(r.Gateways) < 2:
		return "answers: no other host serves it"
	case r.Duty == Answers:
		return "answers for it"
	case r.Duty == Standby:
		return "standby: another host answers for it"
	}
	return ""
}

func legOf(h *Host, l *Leg) legWords {
	w := legWords{device: l.Device, mac: l.MAC, addrs: strings.Join(l.Addrs, "  "), plugged: l.OFPort > 0}
	if w.addrs == "" {
		w.addrs = "no address"
	}
	at := portNumber(l.OFPort)
	if l.VLAN > 0 {
		at += fmt.Sprintf("  tag %d", l.VLAN)
	}
	w.plug = append(w.plug, at)
	if n := h.network(l.NetworkID); n != nil {
		w.plug = append(w.plug, "net "+networkName(n))
	}
	return w
}

// translationRows are a router's translations and routes, as many as are shown.
func translationRows(r *Router, all bool) []routerRow {
	var out []routerRow
	list := func(kind string, n int, row func(i int) (what, count string)) {
		for i := range n {
			if i == shownTranslations && n > shownTranslations+1 && !all {
				out = append(out, routerRow{what: fmt.Sprintf("... and %d more (--all shows them)", n-i)})
				return
			}
			what, count := row(i)
			out = append(out, routerRow{kind, what, count})
			kind = ""
		}
	}
	list("source NAT", len(r.Sources), func(i int) (string, string) {
		return "all else leaves as " + r.Sources[i].Outside, number(r.Sources[i].Out) + " out"
	})
	list("floating IP", len(r.Floating), func(i int) (string, string) {
		t := &r.Floating[i]
		return t.Outside + " is " + t.Inside, number(t.In) + " in " + fmt.Sprintf("%5s out", number(t.Out))
	})
	list("port", len(r.Forwards), func(i int) (string, string) {
		t := &r.Forwards[i]
		return t.Outside + " is " + t.Inside, number(t.In) + " in"
	})
	list("route", len(r.Routes), func(i int) (string, string) {
		hop := &r.Routes[i]
		what := hop.Dst.String()
		if hop.Dst.Bits() == 0 {
			what = "default"
			if hop.Dst.Addr().Is6() {
				what = "default IPv6"
			}
		}
		if hop.Via.IsValid() {
			return what + " via " + hop.Via.String(), hop.Dev
		}
		return what + " on the wire", hop.Dev
	})
	if len(out) == 0 {
		out = append(out, routerRow{what: "no external gateway, no translation"})
	}
	return out
}

// shortID is the first group of an id.
func shortID(id string) string { return id[:min(8, len(id))] }
