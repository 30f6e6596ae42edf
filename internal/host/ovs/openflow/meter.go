package openflow

import (
	"context"
	"fmt"
)

// Meter drops what is above a rate.
type Meter struct {
	ID      uint32
	Packets bool   // Rate and Burst count packets, not kilobits
	Rate    uint32 // kilobits or packets a second
	Burst   uint32 // kilobits or packets; 0 leaves it to the switch
}

// Commands of meter and group mods.
const (
	modAdd    = 0
	modModify = 1
	modDelete = 2
)

// Meter flags and band types.
const (
	meterKbps  = 1 << 0
	meterPktps = 1 << 1
	meterBurst = 1 << 2
	meterStats = 1 << 3

	bandDrop = 1
)

// AddMeter makes a meter; one of the same id must not exist.
func (c *Client) AddMeter(ctx context.Context, m Meter) error { return c.meterMod(ctx, modAdd, m) }

// ModifyMeter changes the rate of a meter that exists.
func (c *Client) ModifyMeter(ctx context.Context, m Meter) error {
	return c.meterMod(ctx, modModify, m)
}

// DeleteMeter deletes a meter and the flows that use it.
func (c *Client) DeleteMeter(ctx context.Context, id uint32) error {
	return c.meterMod(ctx, modDelete, Meter{ID: id})
}

func (c *Client) meterMod(ctx context.Context, command uint16, m Meter) error {
	err := c.confirmed(ctx, func(xid uint32) []byte {
		b := begin(nil, typeMeterMod, xid)
		b = be.AppendUint16(b, command)
		flags := uint16(meterKbps | meterStats)
		if m.Packets {
			flags = meterPktps | meterStats
		}
		if m.Burst != 0 {
			flags |= meterBurst
		}
		b = be.AppendUint16(b, flags)
		b = be.AppendUint32(b, m.ID)
		if command != modDelete {
			b = append(b, 0, bandDrop, 0, 16)
			b = be.AppendUint32(b, m.Rate)
			b = be.AppendUint32(b, m.Burst)
			b = append(b, 0, 0, 0, 0)
		}
		return end(b, 0)
	})
	if err != nil {
		return fmt.Errorf("meter %d: %w", m.ID, err)
	}
	return nil
}

// Multipart types of meters.
const (
	multipartMeterConfig   = 10
	multipartMeterFeatures = 11
)

const (
	allMeters      = 0xffffffff // OFPM_ALL
	sizeMeter      = 8          // before its bands
	sizeMeterBand  = 16
	sizeMeterLimit = 16
)

// Meters returns the meters of the bridge. Of bands that do not drop nothing is told.
func (c *Client) Meters(ctx context.Context) ([]Meter, error) {
	replies, err := c.multipart(ctx, multipartMeterConfig, append(be.AppendUint32(nil, allMeters), 0, 0, 0, 0))
	if err != nil {
		return nil, fmt.Errorf("reading meters: %w", err)
	}
	var out []Meter
	for _, r := range replies {
		if out, err = appendMeters(out, r); err != nil {
			return nil, fmt.Errorf("reading meters: %w", err)
		}
	}
	return out, nil
}

// appendMeters reads the body of one reply.
func appendMeters(out []Meter, b []byte) ([]Meter, error) {
	for len(b) > 0 {
		if len(b) < sizeMeter {
			return nil, errShort
		}
		n := int(be.Uint16(b))
		if n < sizeMeter || n > len(b) {
			return nil, errShort
		}
		m := Meter{ID: be.Uint32(b[4:]), Packets: be.Uint16(b[2:])&meterPktps != 0}
		if band := b[sizeMeter:n]; len(band) >= sizeMeterBand && be.Uint16(band) == bandDrop {
			m.Rate, m.Burst = be.Uint32(band[4:]), be.Uint32(band[8:])
		}
		out = append(out, m)
		b = b[n:]
	}
	return out, nil
}

// MeterLimit returns the highest id that a meter of the bridge may have, 0 if its datapath has no meters.
func (c *Client) MeterLimit(ctx context.Context) (uint32, error) {
	replies, err := c.multipart(ctx, multipartMeterFeatures, nil)
	if err != nil {
		return 0, fmt.Errorf("reading what meters there may be: %w", err)
	}
	if len(replies) == 0 || len(replies[0]) < sizeMeterLimit {
		return 0, fmt.Errorf("reading what meters there may be: %w", errShort)
	}
	if bands := be.Uint32(replies[0][4:]); bands&(1<<bandDrop) == 0 {
		return 0, nil
	}
	return be.Uint32(replies[0]), nil
}
