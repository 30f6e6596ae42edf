package store

import (
	"net/netip"
	"strings"

	"weft/internal/model"
)

// freeBlocks holds what the subnets of each pool leave free of the whole address space, as a buddy
// allocator keeps it: blocks as large as they can be, so that a subnet that comes or goes changes at
// most as many of them as an address has bits, and a free block of a size is found without looking at
// the subnets. A pool without subnets has no entries: all is free. Which part of the space is the
// pool's, the reader says: that may change, and most of what is free need not be kept then.
//
// The subnets of a pool do not overlap; the rules see to that.
type freeBlocks struct{ tree tree }

func newFreeBlocks(e *epoch) freeBlocks { return freeBlocks{tree{epoch: e}} }

// pooled is a block of a pool.
type pooled struct {
	pool  model.SubnetPoolID
	block netip.Prefix
}

// text orders blocks by their pool, then by their size, the largest first, then by their address.
func (p pooled) text() string { return p.sized() + byAddr(p.block.Addr()) }

// sized is the part of the text that all blocks of a size and pool have in common.
func (p pooled) sized() string { return byUUID(p.pool) + string(rune(p.block.Bits())) }

// up is the block of a length that holds this one.
func (p pooled) up(bits int) pooled {
	b, _ := p.block.Addr().Prefix(bits)
	return pooled{p.pool, b}
}

// buddy is the other half of the next larger block.
func (p pooled) buddy() pooled {
	a, i := p.block.Addr().AsSlice(), p.block.Bits()-1
	a[i/8] ^= 0x80 >> (i % 8)
	addr, _ := netip.AddrFromSlice(a)
	return pooled{p.pool, netip.PrefixFrom(addr, p.block.Bits())}
}

func pooledOf(row *Row[model.Subnet]) pooled {
	if row == nil || row.Obj.SubnetPoolID.IsZero() {
		return pooled{}
	}
	return pooled{row.Obj.SubnetPoolID, row.Obj.CIDR}
}

// entries is none: those of blocks are not the row's.
func (x *freeBlocks) entries(*model.Subnet) int { return 0 }

func (x *freeBlocks) replace(before, after *Row[model.Subnet]) {
	old, now := pooledOf(before), pooledOf(after)
	if old == now {
		return
	}
	if old != (pooled{}) {
		x.release(old)
	}
	if now != (pooled{}) {
		x.take(now)
	}
}

func (x *freeBlocks) fill(rows []*Row[model.Subnet]) {
	for _, row := range rows {
		x.replace(nil, row)
	}
}

// take removes a block from what is free: the free block that holds it is halved until it is left.
func (x *freeBlocks) take(p pooled) {
	around, ok := x.around(p)
	if !ok {
		return
	}
	x.tree.delete(&entry{key: around.text()})
	for bits := around.block.Bits() + 1; bits <= p.block.Bits(); bits++ {
		x.tree.set(&entry{key: p.up(bits).buddy().text()})
	}
}

// release adds a block to what is free, joined with its buddy as often as that is free as well.
func (x *freeBlocks) release(p pooled) {
	for ; p.block.Bits() > 0; p = p.up(p.block.Bits() - 1) {
		if free := x.tree.delete(&entry{key: p.buddy().text()}); !free {
			x.tree.set(&entry{key: p.text()})
			return
		}
	}
}

// around finds the free block that holds a block, false when a part of it is taken.
func (x *freeBlocks) around(p pooled) (pooled, bool) {
	for bits := p.block.Bits(); bits >= 0; bits-- {
		if q := p.up(bits); x.has(q) {
			return q, true
		}
	}
	return p.up(0), !x.used(p.pool)
}

func (x *freeBlocks) has(p pooled) bool {
	key, ok := x.first(p.text(), p.text())
	return ok && key == p.text()
}

// used reports whether the pool has subnets.
func (x *freeBlocks) used(pool model.SubnetPoolID) bool {
	_, ok := x.first(byUUID(pool), byUUID(pool))
	return ok
}

// first returns the first entry from a key on that begins with a text.
func (x *freeBlocks) first(from, prefix string) (key string, ok bool) {
	e := x.tree.first(&entry{key: from})
	if e == nil {
		return "", false
	}
	return e.key, strings.HasPrefix(e.key, prefix)
}

// within finds the lowest free block of a size within a prefix, which itself may be part of a larger one.
func (x *freeBlocks) within(pool model.SubnetPoolID, prefix netip.Prefix, bits int) (netip.Prefix, bool) {
	at := pooled{pool, netip.PrefixFrom(prefix.Addr(), bits)}
	if bits == prefix.Bits() {
		_, free := x.around(at)
		return at.block, free
	}
	key, ok := x.first(at.text(), at.sized())
	if !ok {
		return netip.Prefix{}, false
	}
	found := netip.PrefixFrom(addrOf(strings.TrimPrefix(key, at.sized())), bits)
	return found, prefix.Contains(found.Addr())
}

// FreeBlock finds a block of a length for a new subnet of a pool: at the beginning of the smallest free
// block that it fits in, the lowest of these. prefixes are what the pool has, as model.SubnetPool
// keeps them.
func (r Reader) FreeBlock(pool model.SubnetPoolID, prefixes []netip.Prefix, bits int) (netip.Prefix, bool) {
	for size := bits; size >= 0; size-- {
		for _, p := range prefixes {
			if p.Bits() > size {
				continue
			}
			if found, ok := r.t.subnets.free.within(pool, p, size); ok {
				return netip.PrefixFrom(found.Addr(), bits), true
			}
		}
	}
	return netip.Prefix{}, false
}

// BlockIsFree reports whether no subnet of a pool has an address of a block, which is masked.
func (r Reader) BlockIsFree(pool model.SubnetPoolID, block netip.Prefix) bool {
	_, free := r.t.subnets.free.around(pooled{pool, block})
	return free
}
