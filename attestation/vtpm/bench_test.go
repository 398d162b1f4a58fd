package vtpm

import (
	"fmt"
	"net"
	"os"
	"testing"
	"text/tabwriter"

	"disk-mapper/attestation"
	"disk-mapper/attestation/atls"
	"disk-mapper/attestation/verify"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/stretchr/testify/require"
)

// BenchmarkHandshake is a whole attested handshake over loopback, both sides in
// this process: certificate, quotes by swtpm, validation. The table at the end
// compares with a key that is made anew for each; the goal is 3 times its rate.
func BenchmarkHandshake(b *testing.B) {
	keys := []struct {
		name   string
		before func(*TPM)
	}{
		{"key kept open", func(*TPM) {}},
		{"key opened each time", func(t *TPM) { clear(t.aks) }},
		{"key made anew each time", evict},
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nswtpm with\thandshakes/s, "+keys[0].name+"\t"+keys[1].name+"\t"+keys[2].name+"\tratio of first to last")
	for _, bank := range []string{"one bank", "four banks"} {
		rates := map[string]float64{}
		for _, key := range keys {
			b.Run(bank+"/"+key.name, func(b *testing.B) {
				handshakes(b, onSWTPM(b, banks[bank]), key.before)
				rates[key.name] = float64(b.N) / b.Elapsed().Seconds()
			})
		}
		if rates[keys[0].name] > 0 && rates[keys[2].name] > 0 { // not with a narrower -bench
			fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%.1f\n", bank, rates[keys[0].name], rates[keys[1].name], rates[keys[2].name],
				rates[keys[0].name]/rates[keys[2].name])
		}
	}
	require.NoError(b, w.Flush())
}

func handshakes(b *testing.B, tpm *TPM, before func(*TPM)) {
	serving := atls.ServerCredentials(tpm.Issuer(attestation.BindHashChain), atls.AcceptAnyPeer)
	dialing := atls.ClientCredentials(atls.Unattested,
		atls.Require(verify.New(zeroIn(b, 15), attestation.BindHashChain, nil, nil)))
	for b.Loop() {
		before(tpm)
		ours, theirs := net.Pipe()
		go func() { _, _, _ = serving.ServerHandshake(theirs) }()
		_, _, err := dialing.ClientHandshake(b.Context(), "", ours)
		require.NoError(b, err)
	}
}

// evict is what a node without a persistent key would have to do.
func evict(t *TPM) {
	clear(t.aks)
	_ = tpm2.EvictControl(t.device, "", tpm2.HandleOwner, akHandle, akHandle)
}
