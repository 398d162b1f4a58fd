//go:build vm

package main

import (
	"context"
	"path/filepath"
	"testing"

	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/require"
)

// TestDemo tells the story and lets all its checks hold.
func TestDemo(t *testing.T) {
	image, err := vmtest.FindImage()
	require.NoError(t, err)
	programs := filepath.Dir(filepath.Dir(image.Kernel))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, tell(ctx, image, t.TempDir(), programs, t.Output()))
}
