package keys_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"disk-mapper/internal/keys"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vector is one row of testdata/vectors.json: hexadecimal, but for the UUID.
type vector struct {
	Name, MasterKey, MasterSalt, UUID, MeasurementSalt string
	MeasurementSecret, DiskKey, ClusterID, PCRSHA256   string
}

func vectors(t *testing.T) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var v []vector
	require.NoError(t, json.Unmarshal(raw, &v))
	require.Len(t, v, 4)
	return v
}

func TestDerivationsMatchThePublishedVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			master, err := keys.NewMasterSecret(unhex(t, v.MasterKey), unhex(t, v.MasterSalt))
			require.NoError(t, err)
			id, err := keys.ParseDiskID(v.UUID)
			require.NoError(t, err)
			pair, err := master.Pair(id)
			require.NoError(t, err)
			assert.Equal(t, v.DiskKey, hex.EncodeToString(pair.Disk.Bytes()))
			assert.Equal(t, v.MeasurementSecret, hex.EncodeToString(pair.Measurement.Bytes()))

			salt, err := keys.NewMeasurementSalt(unhex(t, v.MeasurementSalt))
			require.NoError(t, err)
			cluster, err := keys.NewClusterID(pair.Measurement, salt)
			require.NoError(t, err)
			assert.Equal(t, v.ClusterID, hex.EncodeToString(cluster.Bytes()))
			event := sha256.Sum256(cluster.Bytes())
			pcr := sha256.Sum256(append(make([]byte, 32), event[:]...))
			assert.Equal(t, v.PCRSHA256, hex.EncodeToString(pcr[:]))
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

func TestDiskIDIsCanonicalOrNothing(t *testing.T) {
	for name, s := range map[string]string{
		"empty":            "",
		"another key":      "measurementSecret",
		"a path":           "../../etc/passwd",
		"upper case":       "12345678-90AB-CDEF-1234-567890ABCDEF",
		"no dashes":        "1234567890abcdef1234567890abcdef",
		"braces":           "{12345678-90ab-cdef-1234-567890abcdef}",
		"trailing newline": "12345678-90ab-cdef-1234-567890abcdef\n",
		"trailing data":    "12345678-90ab-cdef-1234-567890abcdef0",
		"not hexadecimal":  "12345678-90ab-cdef-1234-567890abcdeg",
		"other digits":     "１2345678-90ab-cdef-1234-567890abcdef",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keys.ParseDiskID(s)
			assert.ErrorIs(t, err, keys.ErrDiskID)
		})
	}
	id := keys.NewDiskID()
	again, err := keys.ParseDiskID(id.String())
	require.NoError(t, err)
	assert.Equal(t, id, again)
	assert.NotEqual(t, id, keys.NewDiskID())
}

func TestLengthsAreExact(t *testing.T) {
	for _, n := range []int{0, 1, 31, 33, 4096} {
		raw := make([]byte, n)
		_, err := keys.NewDiskKey(raw)
		assert.ErrorIs(t, err, keys.ErrLength)
		_, err = keys.NewMeasurementSecret(raw)
		assert.ErrorIs(t, err, keys.ErrLength)
		_, err = keys.NewMeasurementSalt(raw)
		assert.ErrorIs(t, err, keys.ErrLength)
		_, err = keys.NewPair(make([]byte, keys.Size), raw)
		assert.ErrorIs(t, err, keys.ErrLength)
		_, err = keys.NewPair(raw, make([]byte, keys.Size))
		assert.ErrorIs(t, err, keys.ErrLength)
	}
	_, err := keys.NewMasterSecret(make([]byte, 15), make([]byte, 32))
	assert.ErrorIs(t, err, keys.ErrLength)
	_, err = keys.NewMasterSecret(make([]byte, 16), make([]byte, 31))
	assert.ErrorIs(t, err, keys.ErrLength)
}

func TestZeroValuesDeriveNothing(t *testing.T) {
	id := keys.NewDiskID()
	_, err := keys.MasterSecret{}.Pair(id)
	assert.ErrorIs(t, err, keys.ErrLength)
	_, err = keys.NewClusterID(keys.MeasurementSecret{}, keys.MeasurementSalt{})
	assert.ErrorIs(t, err, keys.ErrLength)
	master, err := keys.NewMasterSecret(make([]byte, 32), make([]byte, 32))
	require.NoError(t, err)
	_, err = master.DiskKey(keys.DiskID{})
	assert.ErrorIs(t, err, keys.ErrDiskID)
	keys.Pair{}.Wipe()
	assert.Nil(t, keys.Pair{}.Clone().Disk.Bytes())
}

func TestSecretsDoNotPrint(t *testing.T) {
	raw := bytes.Repeat([]byte("K"), keys.Size)
	pair, err := keys.NewPair(raw, raw)
	require.NoError(t, err)
	master, err := keys.NewMasterSecret(raw, raw)
	require.NoError(t, err)
	salt, err := keys.NewMeasurementSalt(raw)
	require.NoError(t, err)
	id, err := keys.NewClusterID(pair.Measurement, salt)
	require.NoError(t, err)
	derived := string(id.Bytes())
	for _, v := range []any{struct{ hidden keys.MasterSecret }{master}, struct{ hidden keys.Pair }{pair}, pair, &pair, pair.Disk, pair.Measurement, master, &master, salt, id} {
		asJSON, err := json.Marshal(v)
		require.NoError(t, err)
		for _, out := range []string{fmt.Sprintf("%v %+v %#v %s %x %q %d", v, v, v, v, v, v, v), string(asJSON)} {
			for _, leak := range []string{"KKKK", "4b4b4b", "75 75", "0x4b", "S0tL", derived} {
				assert.NotContains(t, out, leak, "%T", v)
			}
		}
	}
}

func TestWipeReachesAllCopies(t *testing.T) {
	key := keys.RandomDiskKey()
	copied, cloned := key, key.Clone()
	key.Wipe()
	assert.Equal(t, make([]byte, keys.Size), copied.Bytes())
	assert.NotEqual(t, make([]byte, keys.Size), cloned.Bytes())
}

func TestParseMasterSecret(t *testing.T) {
	v := vectors(t)[0]
	file := `{"key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","salt":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="}`
	master, err := keys.ParseMasterSecret([]byte(file))
	require.NoError(t, err)
	secret, err := master.MeasurementSecret()
	require.NoError(t, err)
	assert.Equal(t, v.MeasurementSecret, hex.EncodeToString(secret.Bytes()))

	for name, bad := range map[string]string{
		"not JSON":   "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
		"not base64": `{"key":"?SECRET?","salt":"ICEi"}`,
		"short":      `{"key":"AAEC","salt":"ICEi"}`,
		"empty":      ``,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keys.ParseMasterSecret([]byte(bad))
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "SECRET", "no part of the file in an error")
			assert.NotContains(t, err.Error(), "AAEC")
		})
	}
}
