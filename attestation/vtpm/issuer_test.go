package vtpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	userData = bytes.Repeat([]byte{0xaa}, sha256.Size)
	nonce    = bytes.Repeat([]byte{0xbb}, attestation.NonceSize)
)

func zeroIn(t testing.TB, pcr int) verify.Policy {
	t.Helper()
	p, err := verify.NewPolicy(map[int]verify.Measurement{pcr: {Expected: make([]byte, sha256.Size)}})
	require.NoError(t, err)
	return p
}

// TestIssue has the verifier judge what the issuer makes, in both profiles,
// before and after the cluster ID is measured.
func TestIssue(t *testing.T) {
	tpms := map[string]func(testing.TB) *TPM{"simulator": simulated}
	for name, banks := range banks {
		tpms[name] = func(t testing.TB) *TPM { return onSWTPM(t, banks) }
	}
	for name, start := range tpms {
		for _, profile := range []attestation.Profile{attestation.Profile224, attestation.Profile21} {
			t.Run(name+", profile "+profile.Name, func(t *testing.T) {
				tpm := start(t)
				issuer := tpm.Issuer(profile.Binding)
				validator := verify.New(zeroIn(t, profile.ClusterIDPCR), profile.Binding, nil, nil)
				raw, err := issuer.Issue(t.Context(), userData, nonce)
				require.NoError(t, err)
				require.NoError(t, validator.Validate(t.Context(), raw, userData, nonce))
				assert.Equal(t, issuer.Variant(), validator.Variant())

				require.NoError(t, tpm.Extend(t.Context(), profile.ClusterIDPCR, clusterID))
				raw, err = issuer.Issue(t.Context(), userData, nonce)
				require.NoError(t, err)
				err = validator.Validate(t.Context(), raw, userData, nonce)
				require.ErrorIs(t, err, verify.ErrMeasurement)
				assert.ErrorContains(t, err, fmt.Sprintf("measurement %d differs: expected %064d, got %s",
					profile.ClusterIDPCR, 0, knownValue[tpm2.AlgSHA256]))
			})
		}
	}
}

// TestForgeryOnFourBanks: the genuine quotes of the stronger banks do not help
// a forged SHA-256 bank.
func TestForgeryOnFourBanks(t *testing.T) {
	for _, profile := range []attestation.Profile{attestation.Profile224, attestation.Profile21} {
		t.Run(profile.Name, func(t *testing.T) {
			tpm := onSWTPM(t, banks["four banks"])
			require.NoError(t, tpm.Extend(t.Context(), profile.ClusterIDPCR, clusterID))
			var d attestation.Document
			raw, err := tpm.Issuer(profile.Binding).Issue(t.Context(), userData, nonce)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(raw, &d))
			require.Len(t, d.Attestation.Quotes, 4)
			for _, q := range d.Attestation.Quotes {
				if q.PCRs.Hash == attestation.SHA256 {
					q.PCRs.PCRs[profile.ClusterIDPCR] = make([]byte, sha256.Size)
					clear(q.RawSig[len(q.RawSig)-256:])
				}
			}
			raw, err = json.Marshal(d)
			require.NoError(t, err)
			validator := verify.New(zeroIn(t, profile.ClusterIDPCR), profile.Binding, nil, nil)
			assert.ErrorIs(t, validator.Validate(t.Context(), raw, userData, nonce), verify.ErrQuote)
		})
	}
}

func TestIssueWithoutSHA256Bank(t *testing.T) {
	tpm := onSWTPM(t, "sha1")
	raw, err := tpm.Issuer(attestation.BindHashChain).Issue(t.Context(), userData, nonce)
	require.NoError(t, err)
	err = verify.New(zeroIn(t, 15), attestation.BindHashChain, nil, nil).Validate(t.Context(), raw, userData, nonce)
	assert.ErrorIs(t, err, verify.ErrQuote)
}

// TestDocumentForm pins the members that other implementations look for.
func TestDocumentForm(t *testing.T) {
	tpm := simulated(t)
	cases := map[attestation.Binding]struct{ top, evidence []string }{
		attestation.BindHashChain: {[]string{"Attestation", "InstanceInfo", "UserData"}, []string{"TeeAttestation", "ak_pub", "event_log", "quotes"}},
		attestation.BindSigned:    {[]string{"Attestation", "InstanceInfo", "UserData", "UserDataSignature"}, []string{"ak_pub", "event_log", "quotes"}},
	}
	for binding, want := range cases {
		raw, err := tpm.Issuer(binding).Issue(t.Context(), userData, nonce)
		require.NoError(t, err)
		var document map[string]json.RawMessage
		var evidence map[string]json.RawMessage
		var quotes []map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &document))
		require.NoError(t, json.Unmarshal(document["Attestation"], &evidence))
		require.NoError(t, json.Unmarshal(evidence["quotes"], &quotes))
		assert.ElementsMatch(t, want.top, names(document))
		assert.Equal(t, "null", string(document["InstanceInfo"]))
		assert.ElementsMatch(t, want.evidence, names(evidence))
		assert.Len(t, quotes, len(allBanks(t, tpm)))
		assert.ElementsMatch(t, []string{"quote", "raw_sig", "pcrs"}, names(quotes[0]))
	}
}

func names(object map[string]json.RawMessage) (found []string) {
	for name := range object {
		found = append(found, name)
	}
	return found
}

func TestAttestationKey(t *testing.T) {
	tpm := simulated(t)
	issue := func(tpm *TPM) (d attestation.Document) {
		raw, err := tpm.Issuer(attestation.BindHashChain).Issue(t.Context(), userData, nonce)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &d))
		return d
	}
	first := issue(tpm)
	handles, err := client.Handles(tpm.device, tpm2.HandleTypePersistent)
	require.NoError(t, err)
	assert.Contains(t, handles, akHandle)
	counter := &counting{ReadWriteCloser: tpm.device.raw, of: tpm2.CmdReadPublic}
	tpm.device.raw = counter
	issue(tpm)
	assert.Zero(t, counter.n, "the key was opened again")
	restarted := New(counter, logOf(someLog))
	assert.Equal(t, first.Attestation.AKPub, issue(restarted).Attestation.AKPub, "another process made another key")

	require.NoError(t, tpm2.EvictControl(tpm.device, "", tpm2.HandleOwner, akHandle, akHandle))
	_, err = tpm.Issuer(attestation.BindHashChain).Issue(t.Context(), userData, nonce)
	require.Error(t, err, "the key is gone")
	assert.Equal(t, first.Attestation.AKPub, issue(tpm).Attestation.AKPub, "made again, from the same seed")
}

// counting counts the commands of one kind.
type counting struct {
	io.ReadWriteCloser
	of tpmutil.Command
	n  int
}

func (c *counting) Write(command []byte) (int, error) {
	if commandCode(command) == c.of {
		c.n++
	}
	return c.ReadWriteCloser.Write(command)
}

func TestIssueFails(t *testing.T) {
	errLog := errors.New("no securityfs")
	tpm := simulated(t)
	tpm.eventLog = func() ([]byte, error) { return nil, errLog }
	_, err := tpm.Issuer(attestation.BindHashChain).Issue(t.Context(), userData, nonce)
	assert.ErrorIs(t, err, errLog)
	tpm.eventLog = logOf(nil)
	_, err = tpm.Issuer(0).Issue(t.Context(), userData, nonce)
	assert.ErrorContains(t, err, "unknown binding")
	_, err = tpm.Issuer(attestation.BindHashChain).Issue(t.Context(), userData[1:], nonce)
	assert.ErrorContains(t, err, "user data of 31")
}

// stuck is a TPM whose commands do not end until it is released.
type stuck struct {
	stubborn
	entered, release chan struct{}
}

func (s stuck) Write(command []byte) (int, error) {
	s.entered <- struct{}{}
	<-s.release
	return len(command), nil
}

func TestACancelledCallReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := stuck{stubborn{response: responseOf(0x101)}, make(chan struct{}, 16), make(chan struct{})}
		tpm := New(raw, logOf(nil))
		issuer := tpm.Issuer(attestation.BindHashChain)
		running, stopRunning := context.WithCancel(t.Context())
		waiting, stopWaiting := context.WithCancel(t.Context())
		errs := make(chan error)
		go func() { _, err := issuer.Issue(running, userData, nonce); errs <- err }()
		<-raw.entered
		go func() { _, err := issuer.Issue(waiting, userData, nonce); errs <- err }()
		synctest.Wait()
		stopWaiting()
		assert.ErrorIs(t, <-errs, context.Canceled, "the one that waits for its turn")
		stopRunning()
		assert.ErrorIs(t, <-errs, context.Canceled, "the one whose command is running")

		go func() { _, err := tpm.ReadPCR(t.Context(), 15); errs <- err }()
		synctest.Wait()
		assert.Empty(t, raw.entered, "a second command before the first one's end")
		close(raw.release)
		assert.ErrorContains(t, <-errs, "TPM failure mode")
	})
}
