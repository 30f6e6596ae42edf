package responder

import "time"

// Limiter is a token bucket: how often one port may ask. Its use costs the same
// however much is asked. The zero Limiter allows nothing; it is not safe for
// concurrent use.
type Limiter struct {
	perSecond float64
	burst     float64
	tokens    float64
	last      time.Time
}

// NewLimiter returns a full bucket of burst tokens that gets perSecond new ones
// each second.
func NewLimiter(perSecond float64, burst int) Limiter {
	return Limiter{perSecond: perSecond, burst: float64(burst), tokens: float64(burst)}
}

// Allow takes a token, and reports whether there was one. A clock that goes
// backwards gives none.
func (l *Limiter) Allow(now time.Time) bool {
	if !l.last.IsZero() {
		if gone := now.Sub(l.last).Seconds(); gone > 0 {
			l.tokens = min(l.burst, l.tokens+gone*l.perSecond)
		}
	}
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
