package keys

import (
	"cmp"
	"os"
	"sync"
)

// memory hands out places for secrets, in pages that are never swapped, are left
// out of core files and are empty in a forked child. Secrets of Size bytes share
// pages: with one page for each, thousands of tickets a second would need more
// locked memory than an ordinary user has. Shared pages are kept for reuse.
type memory struct {
	mu       sync.Mutex
	free     [][]byte // Size bytes each, all zero
	unlocked error
}

// vault is where this process keeps its secrets.
var vault memory

// Locked returns nil if all secrets are in locked memory so far, or why they are
// not. They are as usable then, but may reach swap or a core file.
func Locked() error {
	vault.giveBack(vault.take(Size)) // the first page tells
	vault.mu.Lock()
	defer vault.mu.Unlock()
	return vault.unlocked
}

// take returns n zeros. The capacity is not the caller's.
func (m *memory) take(n int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n != Size {
		return m.pages(n)[:n]
	}
	if len(m.free) == 0 {
		for page := m.pages(Size); len(page) > 0; page = page[Size:] {
			m.free = append(m.free, page[:Size:Size])
		}
	}
	last := len(m.free) - 1
	place := m.free[last]
	m.free = m.free[:last]
	return place
}

// giveBack overwrites what take returned. Nobody may hold it any more.
func (m *memory) giveBack(place []byte) {
	clear(place)
	if len(place) != Size {
		unmap(place[:cap(place)])
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = append(m.free, place)
}

// pages returns whole pages, at least n bytes, and notes if they are not as they
// should be: that is no reason to fail.
func (m *memory) pages(n int) []byte {
	page := os.Getpagesize()
	pages, err := lockedPages((n + page - 1) / page * page)
	m.unlocked = cmp.Or(m.unlocked, err) // the first says it all
	return pages
}
