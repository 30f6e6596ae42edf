package dispatch

import (
	"context"
	"time"

	"weft/internal/server/store"
)

// settleEvery is how often planned moves of routers are looked at.
const settleEvery = time.Second

// settle ends planned moves that are over.
func (s *Server) settle(ctx context.Context) error {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if s.cfg.Settle == nil || !moving(s.cfg.Store.Snapshot()) {
			continue
		}
		_, err := s.cfg.Store.Update(ctx, func(tx *store.Tx) error {
			s.cfg.Settle(tx)
			return nil
		})
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("moves of routers not ended", "err", err)
		}
	}
}

func moving(s *store.Snapshot) bool {
	for range s.RoutersHandedOver() {
		return true
	}
	return false
}
