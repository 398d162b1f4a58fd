//go:build !linux

package keys

import "errors"

func lockedPages(n int) ([]byte, error) { return make([]byte, n), errors.ErrUnsupported }

func unmap([]byte) {}
