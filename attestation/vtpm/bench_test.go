package vtpm

import (
	"net"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/verify"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/require"
)

// BenchmarkHandshake is a whole attested handshake over loopback, both sides in
// this process: certificate, quotes by swtpm, validation.
func BenchmarkHandshake(b *testing.B) {
	keys := map[string]func(*TPM){
		"key kept open":           func(*TPM) {},
		"key opened each time":    func(t *TPM) { t.ak = nil },
		"key made anew each time": evict,
	}
	for name, banks := range banks {
		for key, before := range keys {
			b.Run(name+"/"+key, func(b *testing.B) {
				tpm := onSWTPM(b, banks)
				serving := atls.ServerCredentials(tpm.Issuer(attestation.BindHashChain), atls.AcceptAnyPeer)
				dialing := atls.ClientCredentials(atls.Unattested,
					atls.Require(verify.QEMUVTPM(zeroIn(b, 15), attestation.BindHashChain, nil)))
				for b.Loop() {
					before(tpm)
					ours, theirs := net.Pipe()
					go func() { _, _, _ = serving.ServerHandshake(theirs) }()
					_, _, err := dialing.ClientHandshake(b.Context(), "", ours)
					require.NoError(b, err)
				}
			})
		}
	}
}

// evict is what a node without a persistent key would have to do.
func evict(t *TPM) {
	t.ak = nil
	_ = tpm2.EvictControl(t.device, "", tpm2.HandleOwner, client.DefaultAKRSAHandle, client.DefaultAKRSAHandle)
}
