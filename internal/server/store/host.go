package store

import (
	"iter"
	"strings"

	"weft/internal/model"
)

type hostTable struct {
	table[string, model.Host]
	byAgent index[agentKey, model.Host]
}

// agentKey carries the host's name too: rows of tables that are keyed by a name
// have no id to tell them apart by.
type agentKey struct {
	agent model.AgentID
	host  string
}

func (k agentKey) text() string { return byUUID(k.agent) + k.host }

func newHostTable(e *epoch) hostTable {
	return hostTable{
		table: newTable(e, byText, nameKind("host", func(h *model.Host) string { return h.Name })),
		byAgent: newIndex(e, agentKey.text, func(h *model.Host, to []agentKey) []agentKey {
			return append(to, agentKey{h.AgentID, h.Name})
		}),
	}
}

func (t *hostTable) indexes() []indexer[model.Host] {
	return []indexer[model.Host]{&t.rows, &t.byAgent}
}

// Host returns a host, nil when there is none of that name.
func (r Reader) Host(name string) *model.Host { return object(r.HostRow(name)) }

// HostRow returns the row of a host, nil when there is none of that name.
func (r Reader) HostRow(name string) *Row[model.Host] { return r.t.hosts.get(name) }

// Hosts yields all hosts, in order of their names.
func (r Reader) Hosts() iter.Seq[*model.Host] { return objects(r.HostRows()) }

// HostRows yields the rows of all hosts, in order of their names.
func (r Reader) HostRows() iter.Seq[*Row[model.Host]] { return r.t.hosts.rows.every() }

// HostByAgent returns the host of an agent, nil when there is none of that id.
func (r Reader) HostByAgent(id model.AgentID) *model.Host {
	for k, row := range r.t.hosts.byAgent.from(byUUID(id)) {
		if strings.HasPrefix(k, byUUID(id)) {
			return row.Obj
		}
		break
	}
	return nil
}

// PutHost inserts a host, or replaces the one of the same name. The transaction
// owns it from now on.
func (tx *Tx) PutHost(h *model.Host) { tx.record(put(&tx.t.hosts, h)) }

// DeleteHost deletes a host; deleting what is absent does nothing.
func (tx *Tx) DeleteHost(name string) { tx.record(drop(&tx.t.hosts, name)) }

type quotaTable struct {
	table[string, model.Quota]
}

func newQuotaTable(e *epoch) quotaTable {
	return quotaTable{newTable(e, byText, nameKind("quota", func(q *model.Quota) string { return q.ProjectID }))}
}

func (t *quotaTable) indexes() []indexer[model.Quota] { return []indexer[model.Quota]{&t.rows} }

// Quota returns the limits that a project was given, nil when it has the
// defaults.
func (r Reader) Quota(project string) *model.Quota { return object(r.t.quotas.get(project)) }

// Quotas yields the limits of all projects that were given some, in order of
// the projects' ids.
func (r Reader) Quotas() iter.Seq[*model.Quota] { return objects(r.t.quotas.rows.every()) }

// PutQuota inserts the limits of a project, or replaces them. The transaction
// owns them from now on.
func (tx *Tx) PutQuota(q *model.Quota) { tx.record(put(&tx.t.quotas, q)) }

// DeleteQuota gives a project the defaults back.
func (tx *Tx) DeleteQuota(project string) { tx.record(drop(&tx.t.quotas, project)) }
