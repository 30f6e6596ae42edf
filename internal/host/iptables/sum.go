package iptables

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
)

// summer reads what a command prints and keeps nothing of it but a sum, which is the same for the same rules or sets: comments,
// which hold the time, and the counters of chains do not count.
type summer struct {
	h    maphash.Hash
	line []byte // the beginning of a line whose end is still to come
}

// summers are those of rules of both families, of sets, and of nft's filter of frames.
type summers [4]summer

func newSummers(seed maphash.Seed) *summers {
	var s summers
	for i := range s {
		s[i].h.SetSeed(seed)
	}
	return &s
}

// Write takes text.
func (s *summer) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		if !ended {
			s.line = append(s.line, b...)
			return n, nil
		}
		if b = rest; len(s.line) > 0 {
			line = append(s.line, line...)
			s.line = line[:0]
		}
		switch {
		case len(line) > 0 && line[0] == '#':
			continue
		case len(line) > 0 && line[0] == ':':
			line, _, _ = bytes.Cut(line, []byte(" ["))
		}
		s.h.Write(line)
		s.h.WriteByte('\n')
	}
}

func (s *summers) sum() uint64 {
	var h maphash.Hash
	h.SetSeed(s[0].h.Seed())
	for i := range s {
		h.Write(s[i].line)
		h.Write(binary.BigEndian.AppendUint64(nil, s[i].h.Sum64()))
	}
	return h.Sum64()
}
