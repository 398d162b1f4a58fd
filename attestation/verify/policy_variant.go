package verify

import (
	"cmp"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"disk-mapper/attestation"

	"github.com/google/go-sev-guest/kds"
)

// snpFile is what a policy file says about machines under SEV-SNP.
type snpFile struct {
	MinimumTCB struct {
		Bootloader uint8 `json:"bootloader"`
		TEE        uint8 `json:"tee"`
		SNP        uint8 `json:"snp"`
		Microcode  uint8 `json:"microcode"`
	} `json:"minimumTCB"`
	IDKeyDigests []string `json:"idKeyDigests,omitzero"`
}

// teeSVNSize is how many version numbers the firmware of TDX has.
const teeSVNSize = 16

// tdxFile is what a policy file says about machines under TDX.
type tdxFile struct {
	MinimumTEESVN string   `json:"minimumTEESVN"`
	MinimumQESVN  uint16   `json:"minimumQESVN"`
	MinimumPCESVN uint16   `json:"minimumPCESVN"`
	MRTDs         []string `json:"mrTDs"`
}

// The variants that need certain members.
var (
	needSNP    = []attestation.Variant{attestation.AWSSEVSNP, attestation.GCPSEVSNP, attestation.AzureSEVSNP}
	needTDX    = []attestation.Variant{attestation.AzureTDX}
	needIDKeys = []attestation.Variant{attestation.AzureSEVSNP}
	needRoots  = []attestation.Variant{attestation.AzureTrustedLaunch}
	needGCP    = []attestation.Variant{attestation.GCPSEVES, attestation.GCPSEVSNP}
)

// variant adds to p what the file says beyond measurements and keys. A member
// that the variant has no use for is a sign of a mistake in the variant.
func (f policyFile) variant(p *Policy) (err error) {
	if p.variant, err = attestation.ParseVariant(cmp.Or(f.Variant, string(attestation.QEMUVTPM))); err != nil {
		return err
	}
	if f.Enforced != nil && !p.variant.Has(attestation.BindSigned) {
		return fmt.Errorf("enforcedPCRs: release 2.1 has no policies for %s", p.variant)
	}
	if err := needed(p.variant, needSNP, "snp", f.SNP != nil); err != nil {
		return err
	}
	if err := needed(p.variant, needTDX, "tdx", f.TDX != nil); err != nil {
		return err
	}
	if err := needed(p.variant, needGCP, "gcpProject", f.GCPProject != ""); err != nil {
		return err
	}
	if err := needed(p.variant, needRoots, "akRoots", f.AKRoots != nil); err != nil {
		return err
	}
	if f.SEVES != nil && p.variant != attestation.GCPSEVES {
		return fmt.Errorf("sevES is of no use for %s", p.variant)
	}
	p.gcpProject, p.sevES = f.GCPProject, f.SEVES != nil && *f.SEVES
	if p.akRoots, err = roots(f.AKRoots); err != nil {
		return err
	}
	if f.SNP != nil {
		p.snp, err = f.SNP.rules(p.variant)
	}
	if f.TDX != nil {
		p.tdx, err = f.TDX.rules()
	}
	return err
}

func roots(list [][]byte) (parsed []*x509.Certificate, err error) {
	if list != nil && len(list) == 0 {
		return nil, errors.New("akRoots: list is empty")
	}
	for i, der := range list {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("akRoots: certificate %d: %w", i+1, err)
		}
		if !root.IsCA {
			return nil, fmt.Errorf("akRoots: certificate %d may not sign others", i+1)
		}
		parsed = append(parsed, root)
	}
	return parsed, nil
}

func (f snpFile) rules(variant attestation.Variant) (snpRules, error) {
	t := f.MinimumTCB
	r := snpRules{minimumTCB: kds.TCBParts{BlSpl: t.Bootloader, TeeSpl: t.TEE, SnpSpl: t.SNP, UcodeSpl: t.Microcode}}
	if f.IDKeyDigests != nil && len(f.IDKeyDigests) == 0 {
		return snpRules{}, errors.New("snp: idKeyDigests: list is empty")
	}
	if err := needed(variant, needIDKeys, "snp.idKeyDigests", f.IDKeyDigests != nil); err != nil {
		return snpRules{}, err
	}
	var err error
	if r.idKeys, err = hexDigests(f.IDKeyDigests); err != nil {
		return snpRules{}, fmt.Errorf("snp: idKeyDigests: %w", err)
	}
	return r, nil
}

func (f tdxFile) rules() (tdxRules, error) {
	r := tdxRules{minimumQE: uint32(f.MinimumQESVN), minimumPCE: f.MinimumPCESVN}
	var err error
	if r.minimumTEE, err = hexDigest(f.MinimumTEESVN, teeSVNSize); err != nil {
		return tdxRules{}, fmt.Errorf("tdx: minimumTEESVN: %w", err)
	}
	if r.launched, err = hexDigests(f.MRTDs); err != nil {
		return tdxRules{}, fmt.Errorf("tdx: mrTDs: %w", err)
	}
	if len(r.launched) == 0 {
		return tdxRules{}, errors.New("tdx: mrTDs: list is empty")
	}
	return r, nil
}

// hexDigests are measurements of launches, or hashes of keys that sign them.
func hexDigests(texts []string) (digests [][]byte, err error) {
	for _, text := range texts {
		digest, err := hexDigest(text, sha512.Size384)
		if err != nil {
			return nil, err
		}
		digests = append(digests, digest)
	}
	return digests, nil
}

func needed(variant attestation.Variant, by []attestation.Variant, member string, there bool) error {
	switch needs := slices.Contains(by, variant); {
	case needs && !there:
		return fmt.Errorf("%s is missing: %s needs it", member, variant)
	case !needs && there:
		return fmt.Errorf("%s is of no use for %s", member, variant)
	}
	return nil
}
