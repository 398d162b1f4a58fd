// Package issue issues the documents of each variant: the vTPM's part comes from
// attestation/vtpm, instance info from the hardware's report device and from the
// platform's metadata service, over plain HTTP.
//
// Trust boundary: both are the host's. What they say is passed on, for
// validators to judge.
package issue

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"net/http"
	"sync"

	"disk-mapper/attestation"
	"disk-mapper/attestation/vtpm"

	"github.com/google/go-sev-guest/client"
	tools "github.com/google/go-tpm-tools/client"
)

// metadataURL is where all platforms have their metadata service.
const metadataURL = "http://169.254.169.254"

// Reporter is a source of SNP reports: a report with its certificate table after
// it, of the given privilege level.
type Reporter interface {
	GetRawQuoteAtLevel(reportData [64]byte, level uint) ([]byte, error)
}

// Platform is where instance info comes from.
type Platform struct {
	// HTTP bounds the time and the length of answers.
	HTTP *http.Client
	// Metadata is the scheme and host of the metadata service.
	Metadata string
	// Reporter finds the source of reports.
	Reporter func() (Reporter, error)
}

// Here is the platform that this machine runs on. Reports come from configfs
// or, where the kernel has none there, from the guest device.
func Here(http *http.Client) Platform {
	return Platform{HTTP: http, Metadata: metadataURL, Reporter: kept(func() (Reporter, error) {
		return client.GetLeveledQuoteProvider()
	})}
}

// kept finds a source once. A failure is not kept: the driver may be loaded later.
func kept(find func() (Reporter, error)) func() (Reporter, error) {
	var mu sync.Mutex
	var found Reporter
	return func() (Reporter, error) {
		mu.Lock()
		defer mu.Unlock()
		if found != nil {
			return found, nil
		}
		reporter, err := find()
		if err != nil {
			return nil, err
		}
		found = reporter
		return found, nil
	}
}

// New returns the issuer of a variant's documents. It fails if there are none with
// this binding.
func New(variant attestation.Variant, tpm *vtpm.TPM, binding attestation.Binding, on Platform) (attestation.Issuer, error) {
	if !variant.Has(binding) {
		return nil, fmt.Errorf("attestation variant %q does not exist in this profile", variant)
	}
	if variant == attestation.QEMUVTPM {
		return tpm.Issuer(binding), nil
	}
	machine := vtpm.Machine{Variant: variant, Key: keys[variant]}
	machine.Info = func(ctx context.Context, ak crypto.PublicKey, extraData []byte) ([]byte, error) {
		return infos[variant](ctx, source{on, tpm, binding, ak, extraData})
	}
	return tpm.IssuerOf(machine, binding), nil
}

// keys opens the attestation key of each variant.
var keys = map[attestation.Variant]func(io.ReadWriter) (*tools.Key, error){
	attestation.AWSNitroTPM:        vtpm.AttestationKey,
	attestation.AWSSEVSNP:          vtpm.AttestationKey,
	attestation.GCPSEVES:           tools.GceAttestationKeyRSA,
	attestation.GCPSEVSNP:          tools.GceAttestationKeyRSA,
	attestation.AzureSEVSNP:        azureKey,
	attestation.AzureTrustedLaunch: azureKey,
	attestation.AzureTDX:           azureKey,
}

// infos makes the instance info of each variant.
var infos = map[attestation.Variant]func(context.Context, source) ([]byte, error){
	attestation.AWSNitroTPM:        awsNitro,
	attestation.AWSSEVSNP:          awsSNP,
	attestation.GCPSEVES:           gcpSES,
	attestation.GCPSEVSNP:          gcpSNP,
	attestation.AzureSEVSNP:        azureSNP,
	attestation.AzureTrustedLaunch: azureTrustedLaunch,
	attestation.AzureTDX:           azureTDX,
}

// source is what instance info is made from.
type source struct {
	Platform
	tpm       *vtpm.TPM
	binding   attestation.Binding
	ak        crypto.PublicKey
	extraData []byte
}
