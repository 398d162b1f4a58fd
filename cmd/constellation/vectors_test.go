package main

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vector is one row of the published test vectors.
type vector struct{ key, salt, disk, measurement, diskKey string }

var vectors = map[string]vector{
	"A": {
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
		"12345678-90ab-cdef-1234-567890abcdef",
		"ea7fedd14f5a29b1b8545592fc20bfdae06918e4ff447b1a0b8e4f3356005bda",
		"60616af9434ebe99856112123b7c70a53d338e0afcb4bb6dd939b63e2749eb6c",
	},
	"B": {
		strings.Repeat("00", 32), strings.Repeat("00", 32),
		"00000000-0000-0000-0000-000000000000",
		"54d67b1d917d3464757d9b699f3ee416c209a2270e3876da90535e4108898cdd",
		"2b5c829f691bfd4232f8aac464bccc07e605c7c8e82cbca09837e86d0b6d0665",
	},
	"C": {
		strings.Repeat("ff", 32), strings.Repeat("ff", 32),
		"ffffffff-ffff-ffff-ffff-ffffffffffff",
		"150b56a6b689a0b11c8b03e4bf069adc32983b7e09e337eb4424036c54b05323",
		"1484aa39d3415e906e07940ff215d8b1eee705d3027dba93306af4abff4f70be",
	},
	"D": {
		"000102030405060708090a0b0c0d0e0f",
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
		"deadbeef-0000-4000-8000-00000badf00d",
		"200361ca837d3a5ef800b7885a0beb6d384c3fb55452558852b181bfdae17921",
		"63e4631a1705cfe0584591f41d5aa7ee4258b5deb210e53cbc415d91b95de878",
	},
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	require.NoError(t, err)
	return raw
}

// file is the master secret of the vector as operators have it.
func (v vector) file(t *testing.T) string {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("{\n\t\"key\": %q,\n\t\"salt\": %q\n}", encode(unhex(t, v.key)), encode(unhex(t, v.salt)))
}
