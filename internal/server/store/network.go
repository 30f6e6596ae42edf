package store

import (
	"iter"
	"strings"

	"weft/internal/model"
)

type networkTable struct {
	table[model.NetworkID, model.Network]
	byProject index[string, model.Network]
	byName    index[string, model.Network]
	bySegment index[segmentKey, model.Network]
	shared    index[struct{}, model.Network]
	external  index[struct{}, model.Network]
}

// segmentKey is what tells the frames of one network from another's on the
// same wire.
type segmentKey struct {
	kind     model.NetworkType
	physical string
	tag      uint32
}

func (k segmentKey) text() string { return k.wire() + tagText(k.tag) }

// wire is the part of the text that all segments on a wire have in common.
func (k segmentKey) wire() string { return pair(string(k.kind), k.physical) + "\x00" }

func newNetworkTable(e *epoch) networkTable {
	meta := func(n *model.Network) *model.Meta { return &n.Meta }
	return networkTable{
		table: newTable(e, byUUID[model.NetworkID], uuidKind("network",
			func(n *model.Network) model.NetworkID { return n.ID })),
		byProject: newIndex(e, byText, projectOf(meta)),
		byName:    newIndex(e, byText, nameOf(meta)),
		bySegment: newIndex(e, segmentKey.text, func(n *model.Network, to []segmentKey) []segmentKey {
			for _, s := range n.Segments {
				to = append(to, segmentKey{s.Type, s.Physical, s.Tag})
			}
			return to
		}),
		shared:   newFlag(e, func(n *model.Network) bool { return n.Shared }),
		external: newFlag(e, func(n *model.Network) bool { return n.External }),
	}
}

// newFlag returns an index of the objects for which is holds.
func newFlag[T any](e *epoch, is func(*T) bool) index[struct{}, T] {
	return newIndex(e, byFlag, func(obj *T, to []struct{}) []struct{} {
		if is(obj) {
			to = append(to, struct{}{})
		}
		return to
	})
}

func (t *networkTable) indexes() []indexer[model.Network] {
	return []indexer[model.Network]{&t.rows, &t.byProject, &t.byName, &t.bySegment, &t.shared, &t.external}
}

// Network returns a network, nil when there is none of that id.
func (r Reader) Network(id model.NetworkID) *model.Network { return object(r.NetworkRow(id)) }

// NetworkRow returns the row of a network, nil when there is none of that id.
func (r Reader) NetworkRow(id model.NetworkID) *Row[model.Network] { return r.t.networks.get(id) }

// Networks yields all networks.
func (r Reader) Networks() iter.Seq[*model.Network] { return objects(r.NetworkRows()) }

// NetworkRows yields the rows of all networks.
func (r Reader) NetworkRows() iter.Seq[*Row[model.Network]] { return r.t.networks.rows.every() }

// NetworksByProject yields the networks that a project owns.
func (r Reader) NetworksByProject(project string) iter.Seq[*model.Network] {
	return objects(r.NetworkRowsByProject(project))
}

// NetworkRowsByProject yields the rows of the networks that a project owns.
func (r Reader) NetworkRowsByProject(project string) iter.Seq[*Row[model.Network]] {
	return r.t.networks.byProject.all(project)
}

// NetworksByName yields the networks of a name, of any project.
func (r Reader) NetworksByName(name string) iter.Seq[*model.Network] {
	return objects(r.t.networks.byName.all(name))
}

// NetworkByTag returns the network that has a segment of this type, physical
// network (empty for tunnels) and tag, nil when the tag is free.
func (r Reader) NetworkByTag(kind model.NetworkType, physical string, tag uint32) *model.Network {
	return object(r.t.networks.bySegment.first(segmentKey{kind, physical, tag}))
}

// Tags yields the tags in use of a segment type on a physical network, in
// ascending order from the given one on, each with its network.
func (r Reader) Tags(kind model.NetworkType, physical string, from uint32) iter.Seq2[uint32, *model.Network] {
	return func(yield func(uint32, *model.Network) bool) {
		start := segmentKey{kind, physical, from}
		for k, row := range r.t.networks.bySegment.from(start.text()) {
			tag, ok := strings.CutPrefix(k, start.wire())
			if !ok || len(tag) != 4 || !yield(tagOf(tag), row.Obj) {
				return
			}
		}
	}
}

// SharedNetworks yields the networks that every project may use.
func (r Reader) SharedNetworks() iter.Seq[*model.Network] {
	return objects(r.t.networks.shared.all(struct{}{}))
}

// ExternalNetworks yields the networks that lead out of the cloud.
func (r Reader) ExternalNetworks() iter.Seq[*model.Network] {
	return objects(r.t.networks.external.all(struct{}{}))
}

// NetworkCount tells how many networks a project owns.
func (r Reader) NetworkCount(project string) int { return r.t.networks.byProject.count(project) }

// PutNetwork inserts a network, or replaces the one of the same id. The
// transaction owns it from now on.
func (tx *Tx) PutNetwork(n *model.Network) { tx.record(put(&tx.t.networks, n)) }

// DeleteNetwork deletes a network; deleting what is absent does nothing.
func (tx *Tx) DeleteNetwork(id model.NetworkID) { tx.record(drop(&tx.t.networks, id)) }
