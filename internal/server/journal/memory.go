package journal

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
)

// Memory is a journal that lives as long as its process. Tests of rules run on
// it, and tests of the store make it fail. Its methods may be called
// concurrently.
type Memory struct {
	mu       sync.Mutex
	rows     map[string][]byte
	revision uint64
	lost     chan struct{} // of the current term, nil without one
	append   func(ops []Op, write func()) error
	load     func() error
}

// NewMemory returns an empty journal.
func NewMemory() *Memory {
	return &Memory{rows: map[string][]byte{}, revision: 1}
}

// Campaign begins a new term at once; a former term ends.
func (m *Memory) Campaign(ctx context.Context) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.depose()
	m.lost = make(chan struct{})
	return m.lost, nil
}

// Load hands out all rows in order of their keys, in pages.
func (m *Memory) Load(_ context.Context, page func([]Entry) error) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.load != nil {
		if err := m.load(); err != nil {
			return 0, err
		}
	}
	entries := make([]Entry, 0, len(m.rows))
	for k, v := range m.rows {
		entries = append(entries, Entry{Key: k, Value: bytes.Clone(v)})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	for chunk := range slices.Chunk(entries, 1000) {
		if err := page(chunk); err != nil {
			return 0, err
		}
	}
	return m.revision, nil
}

// Append writes all of ops, or nothing when the term is over.
func (m *Memory) Append(_ context.Context, ops []Op) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost == nil {
		return 0, ErrDeposed
	}
	write := func() { m.write(ops) }
	if m.append != nil {
		if err := m.append(ops, write); err != nil {
			return 0, err
		}
		return m.revision, nil
	}
	write()
	return m.revision, nil
}

// Confirm returns nil while the term lasts.
func (m *Memory) Confirm(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lost == nil {
		return ErrDeposed
	}
	return nil
}

// Usurp ends the current term and writes as another server would that had
// taken the lead.
func (m *Memory) Usurp(ops ...Op) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.depose()
	m.write(ops)
}

// OnAppend makes every append call fn instead of writing; fn decides whether
// write is called, and what Append answers. Nil ends it.
func (m *Memory) OnAppend(fn func(ops []Op, write func()) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.append = fn
}

// OnLoad makes every load call fn first and fail with its error. Nil ends it.
func (m *Memory) OnLoad(fn func() error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.load = fn
}

// Rows returns a copy of all that is written.
func (m *Memory) Rows() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]byte, len(m.rows))
	for k, v := range m.rows {
		out[k] = bytes.Clone(v)
	}
	return out
}

func (m *Memory) depose() {
	if m.lost != nil {
		close(m.lost)
		m.lost = nil
	}
}

func (m *Memory) write(ops []Op) {
	m.revision++
	for _, op := range ops {
		if op.Value == nil {
			delete(m.rows, op.Key)
			continue
		}
		m.rows[op.Key] = bytes.Clone(op.Value)
	}
}
