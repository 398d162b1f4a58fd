package disk

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// check holds the metadata against the allow-list. It knows the headers of
// Constellation v2.0 to v2.24, which are cryptsetup's LUKS2 with authenticated
// encryption, and our own; everything else is refused, by field.
func (m metadata) check() error {
	for _, only := range []struct {
		field string
		ids   []string
	}{
		{"keyslots", ids(m.Keyslots)}, {"segments", ids(m.Segments)}, {"digests", ids(m.Digests)},
	} {
		if len(only.ids) != 1 || only.ids[0] != "0" {
			return refuse(only.field, strings.Join(only.ids, ","), "exactly one, with number 0")
		}
	}
	for _, check := range []func() error{
		m.Keyslots["0"].check, m.Keyslots["0"].KDF.check, m.Segments["0"].check, m.Digests["0"].check, m.Config.check,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	_, err := parseTokens(m)
	return err
}

func ids[V any](m map[string]V) []string {
	var all []string
	for id := range m {
		all = append(all, id)
	}
	return all
}

// rule is one line of the allow-list.
type rule struct {
	field       string
	found, want any
}

func firstBroken(rules []rule) error {
	for _, r := range rules {
		if r.found != r.want {
			return refuse(r.field, r.found, r.want)
		}
	}
	return nil
}

func (k keyslot) check() error {
	if err := firstBroken([]rule{
		{"keyslot type", k.Type, "luks2"},
		{"keyslot key_size", k.KeySize, volumeKeySize},
		{"keyslot af type", k.AF.Type, "luks1"},
		{"keyslot af stripes", k.AF.Stripes, afStripes},
		{"keyslot af hash", k.AF.Hash, "sha256"},
		{"keyslot area type", k.Area.Type, "raw"},
		{"keyslot area encryption", k.Area.Encryption, "aes-xts-plain64"},
		{"keyslot area key_size", k.Area.KeySize, areaKeySize},
		{"keyslot area size", k.Area.Size, strconv.Itoa(areaSize)},
	}); err != nil {
		return err
	}
	offset, err := strconv.Atoi(k.Area.Offset)
	if err != nil || strconv.Itoa(offset) != k.Area.Offset ||
		offset < headersSize || offset > metadataSize-areaSize || offset%4096 != 0 {
		return refuse("keyslot area offset", k.Area.Offset, "a multiple of 4096 between the headers and the data segment")
	}
	return nil
}

func (k kdf) check() error {
	if k.Type != "argon2id" || k.Hash != "" || k.Iterations != 0 {
		return refuse("keyslot kdf type", k.Type, "argon2id")
	}
	if len(k.Salt) != saltSize {
		return refuse("keyslot kdf salt", strconv.Itoa(len(k.Salt))+" bytes", saltSize)
	}
	if k.CPUs < 1 || k.CPUs > maxKDFCPUs {
		return refuse("keyslot kdf cpus", k.CPUs, "1 to "+strconv.Itoa(maxKDFCPUs))
	}
	// libargon2 wants 8 KiB per lane at least.
	if k.Memory < 8*k.CPUs || k.Memory > maxKDFMemory {
		return refuse("keyslot kdf memory", k.Memory, "8 KiB per cpu to "+strconv.Itoa(maxKDFMemory)+" KiB")
	}
	if most := min(maxKDFTime, maxKDFWork/k.Memory); k.Time < 1 || k.Time > most {
		return refuse("keyslot kdf time", k.Time, fmt.Sprintf("1 to %d passes at this memory", most))
	}
	return nil
}

func (s segment) check() error {
	if s.Integrity == nil {
		return refuse("segment integrity", "none", "hmac(sha256)")
	}
	if n := s.Integrity.KeySize; n != 0 && n != integritySize {
		return refuse("segment integrity key_size", n, integritySize)
	}
	return firstBroken([]rule{
		{"segment type", s.Type, "crypt"},
		{"segment offset", s.Offset, strconv.Itoa(metadataSize)},
		{"segment size", s.Size, "dynamic"},
		{"segment iv_tweak", s.IVTweak, "0"},
		{"segment encryption", s.Encryption, "aes-xts-plain64"},
		{"segment sector_size", s.SectorSize, sectorSize},
		{"segment integrity type", s.Integrity.Type, "hmac(sha256)"},
		{"segment integrity journal_encryption", s.Integrity.JournalEncryption, "none"},
		{"segment integrity journal_integrity", s.Integrity.JournalIntegrity, "none"},
	})
}

func (d digest) check() error {
	if d.Iterations < minDigestRounds || d.Iterations > maxDigestRounds {
		return refuse("digest iterations", d.Iterations, strconv.Itoa(minDigestRounds)+" to "+strconv.Itoa(maxDigestRounds))
	}
	return firstBroken([]rule{
		{"digest type", d.Type, "pbkdf2"},
		{"digest keyslots", strings.Join(d.Keyslots, ","), "0"},
		{"digest segments", strings.Join(d.Segments, ","), "0"},
		{"digest hash", d.Hash, "sha256"},
		{"digest salt length", len(d.Salt), saltSize},
		{"digest length", len(d.Digest), digestSize},
	})
}

func (c config) check() error {
	return firstBroken([]rule{
		{"config json_size", c.JSONSize, strconv.Itoa(jsonSize)},
		{"config keyslots_size", c.KeyslotsSize, strconv.Itoa(keyslotsSize)},
	})
}

// checkCopies applies the rules between the two copies and returns the newer.
func checkCopies(primary, secondary header) (header, error) {
	p, s := primary.metadata, secondary.metadata
	same := primary.id == secondary.id &&
		bytes.Equal(p.Digests["0"].Digest, s.Digests["0"].Digest) &&
		bytes.Equal(p.Digests["0"].Salt, s.Digests["0"].Salt)
	if !same {
		return header{}, refuse("secondary header", "the header of another disk", "a copy of the primary header")
	}
	if primary.seqID == secondary.seqID && !equalJSON(p, s) {
		return header{}, refuse("secondary header JSON", "other values under the same seqid", "a copy of the primary header")
	}
	if secondary.seqID > primary.seqID {
		return secondary, nil
	}
	return primary, nil
}

func equalJSON(a, b metadata) bool {
	x, errX := a.encode()
	y, errY := b.encode()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
