package keys

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// lockedPages returns memory in any case. The error says what it lacks.
func lockedPages(n int) ([]byte, error) {
	pages, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return make([]byte, n), fmt.Errorf("mapping memory for secrets: %w", err)
	}
	err = errors.Join(unix.Madvise(pages, unix.MADV_DONTDUMP), unix.Madvise(pages, unix.MADV_WIPEONFORK), unix.Mlock(pages))
	if err != nil {
		return pages, fmt.Errorf("locking memory for secrets: %w", err)
	}
	return pages, nil
}

// unmap gives pages back. It does nothing to memory that is not mapped.
func unmap(pages []byte) { _ = unix.Munmap(pages) }
