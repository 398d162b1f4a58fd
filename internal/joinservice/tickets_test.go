package joinservice_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/internal/keys"
	"disk-mapper/proto/joinproto"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(s)
	require.NoError(t, err)
	return raw
}

func (v vector) master(t testing.TB) keys.MasterSecret {
	t.Helper()
	master, err := keys.NewMasterSecret(unhex(t, v.key), unhex(t, v.salt))
	require.NoError(t, err)
	return master
}

func testSalt(t testing.TB) keys.MeasurementSalt {
	t.Helper()
	salt, err := keys.NewMeasurementSalt(bytes.Repeat([]byte{0x40}, 32))
	require.NoError(t, err)
	return salt
}

func TestTickets(t *testing.T) {
	for name, v := range vectors {
		t.Run("vector "+name, func(t *testing.T) {
			server := start(t, v.master(t), believer("node"))
			node := dial(t, server.address, claimant("node"))

			rejoin, err := node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: v.disk})
			require.NoError(t, err)
			assert.Equal(t, v.diskKey, hex.EncodeToString(rejoin.GetStateDiskKey()))
			assert.Equal(t, v.measurement, hex.EncodeToString(rejoin.GetMeasurementSecret()))

			join, err := node.IssueJoinTicket(t.Context(), &joinproto.IssueJoinTicketRequest{DiskUuid: v.disk, CertificateRequest: []byte("CSR"), IsControlPlane: true})
			require.NoError(t, err)
			want := &joinproto.IssueJoinTicketResponse{
				StateDiskKey:      unhex(t, v.diskKey),
				MeasurementSalt:   testSalt(t).Bytes(),
				MeasurementSecret: unhex(t, v.measurement),
			} // and no Kubernetes members
			assert.Equal(t, want.String(), join.String())

			for _, ticket := range []string{"rejoin", "join"} {
				line := server.console.next(t, `"msg":"Issued ticket"`)
				assert.Contains(t, line, `"level":"INFO"`)
				assert.Contains(t, line, `"logger":"joinService"`)
				assert.Contains(t, line, `"ticket":"`+ticket+`","diskUUID":"`+v.disk+`","peer":"127.0.0.1:`)
			}
			requireNoSecrets(t, server.console.String(), v)
		})
	}
}

// requireNoSecrets searches text for the vector's secrets in the usual encodings.
func requireNoSecrets(t *testing.T, text string, v vector) {
	t.Helper()
	for name, secret := range map[string]string{"key": v.key, "salt": v.salt, "measurement": v.measurement, "disk key": v.diskKey} {
		require.NotContains(t, text, secret, name)
		require.NotContains(t, text, base64.StdEncoding.EncodeToString(unhex(t, secret)), name)
	}
}

// TestOnlyDiskKeys: the name of a disk and the names of the cluster's other
// keys share one name space, so that nothing but a canonical UUID may pass.
func TestOnlyDiskKeys(t *testing.T) {
	server := start(t, vectors["A"].master(t), believer("node"))
	node := dial(t, server.address, claimant("node"))
	for name, uuid := range map[string]string{
		"empty":               "",
		"another key":         "measurementSecret",
		"SSH key":             "ca_emergency_ssh",
		"upper case":          strings.ToUpper(vectors["A"].disk),
		"no dashes":           strings.ReplaceAll(vectors["A"].disk, "-", ""),
		"braces":              "{" + vectors["A"].disk + "}",
		"line break at end":   vectors["A"].disk + "\n",
		"path":                "../" + vectors["A"].disk,
		"long":                strings.Repeat("a", 8<<10),
		"escape sequences":    "\x1b[2J\n{\"level\":\"INFO\"}",
		"other digits":        strings.Replace(vectors["A"].disk, "1", "١", 1),
		"dashes in the wrong": "1234567-890ab-cdef-1234-567890abcdef",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: uuid})
			assert.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
			assert.ErrorContains(t, err, "unable to get key for stateful disk: ")
			line := server.console.next(t, `"msg":"Refused ticket"`)
			assert.Contains(t, line, `"level":"WARN"`)
			assert.Less(t, len(line), 1000)
			assert.Equal(t, 1, strings.Count(line, "\n"))

			_, err = node.IssueJoinTicket(t.Context(), &joinproto.IssueJoinTicketRequest{DiskUuid: uuid})
			assert.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
			assert.ErrorContains(t, err, "getting key for stateful disk: ")
			server.console.next(t, `"msg":"Refused ticket"`)
		})
	}
}

// TestMasterSecretMissing is what a defect would look like to a node.
func TestMasterSecretMissing(t *testing.T) {
	server := start(t, keys.MasterSecret{}, believer("node"))
	node := dial(t, server.address, claimant("node"))
	_, err := node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.ErrorContains(t, err, "unable to get measurement secret: ")
	_, err = node.IssueJoinTicket(t.Context(), &joinproto.IssueJoinTicketRequest{DiskUuid: vectors["A"].disk})
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.ErrorContains(t, err, "getting measurement secret: ")
}

func TestWhoGetsTickets(t *testing.T) {
	for name, tt := range map[string]struct {
		node   attestation.Issuer
		reason string // logged; empty means the node gets its ticket
	}{
		"honest":     {claimant("node"), ""},
		"impostor":   {claimant("impostor"), errOtherMachine.Error()},
		"unattested": {atls.Unattested, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			server := start(t, vectors["A"].master(t), believer("node"))
			node := dial(t, server.address, tt.node)
			_, err := node.IssueRejoinTicket(t.Context(), &joinproto.IssueRejoinTicketRequest{DiskUuid: vectors["A"].disk})
			if tt.reason == "" {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
			line := server.console.next(t, `"msg":"Refused connection"`)
			assert.Contains(t, line, `"level":"WARN"`)
			assert.Contains(t, line, `"peer":"127.0.0.1:`)
			assert.Contains(t, line, tt.reason)
			assert.NotContains(t, server.console.String(), "ticket")
		})
	}
}
