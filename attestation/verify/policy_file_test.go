package verify_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadPolicyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.json")
	_, err := verify.ReadPolicyFile(path)
	require.ErrorIs(t, err, fs.ErrNotExist)

	most := bytes.Repeat([]byte(" "), 1<<20)
	require.NoError(t, os.WriteFile(path, most, 0o600))
	raw, err := verify.ReadPolicyFile(path)
	require.NoError(t, err)
	assert.Equal(t, most, raw)

	require.NoError(t, os.WriteFile(path, append(most, ' '), 0o600))
	_, err = verify.ReadPolicyFile(path)
	require.ErrorContains(t, err, "more than 1048576 bytes")
}
