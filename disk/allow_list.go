package disk

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// AllowListVersion counts the changes of what is accepted. Version 1 knows the
// headers of Constellation v2.0 to v2.24, which are those of cryptsetup 2.4 to
// 2.8 with authenticated encryption, and our own. Version 2 bounds a try of a key
// to half of what it was. testdata/allow-list-2.txt has it in full.
const AllowListVersion = 2

// The one layout that is accepted, and what varies within it.
const (
	volumeKeySize = 96 // AES-256-XTS and HMAC-SHA-256
	areaKeySize   = 64
	afStripes     = 4000
	sectorSize    = 4096
	areaSize      = (volumeKeySize*afStripes + 4095) / 4096 * 4096
	saltSize      = 32
	digestSize    = 32
	integritySize = 32

	// Bounds on what one try of a key may cost. Clusters benchmarked argon2id for 2 s
	// at 64 MiB, on up to four processors; cryptsetup's own default goes to 1 GiB, of
	// which it makes four passes at least. Memory times passes is what costs time,
	// but for little memory the passes alone do.
	maxKDFMemory    = 1 << 20 // KiB
	maxKDFCPUs      = 4
	maxKDFWork      = 16 << 20 // KiB times passes: four fast processors make 14 passes of 1 GiB, or 224 of 64 MiB, in the time of a benchmark
	maxKDFTime      = 4096
	minDigestRounds = 1000
	maxDigestRounds = 2_000_000
)

// rules are first how many objects there are, then what is in them.
func (m metadata) rules() []rule {
	keyslots := onlyZero("keyslots", m.Keyslots)
	if _, ok := m.Keyslots["0"]; ok && !keyslots.ok { // of a key that somebody has added, or was changing
		keyslots.want = "0 alone: if the cluster's key opens it, cryptsetup luksKillSlot takes the other away"
	}
	count := []rule{keyslots, onlyZero("segments", m.Segments), onlyZero("digests", m.Digests)}
	if slices.ContainsFunc(count, func(r rule) bool { return !r.ok }) {
		return count
	}
	return slices.Concat(count, m.Keyslots["0"].rules(), m.Keyslots["0"].KDF.rules(),
		m.Segments["0"].rules(), m.Digests["0"].rules(), m.Config.rules())
}

func onlyZero[V any](field string, m map[string]V) rule {
	return equals(field, strings.Join(slices.Sorted(maps.Keys(m)), ","), "0", Foreign)
}

func (k keyslot) rules() []rule {
	return []rule{
		equals("keyslot type", k.Type, "luks2", Tampered),
		equals("keyslot key_size", k.KeySize, volumeKeySize, Foreign),
		equals("keyslot af type", k.AF.Type, "luks1", Tampered),
		equals("keyslot af stripes", k.AF.Stripes, afStripes, Tampered),
		equals("keyslot af hash", k.AF.Hash, "sha256", Tampered),
		equals("keyslot area type", k.Area.Type, "raw", Tampered),
		equals("keyslot area encryption", k.Area.Encryption, "aes-xts-plain64", Tampered),
		equals("keyslot area key_size", k.Area.KeySize, areaKeySize, Tampered),
		equals("keyslot area size", k.Area.Size, strconv.Itoa(areaSize), Tampered),
		{
			"keyslot area offset", k.Area.fits(), k.Area.Offset,
			fmt.Sprintf("a multiple of 4096 from %d to %d", headersSize, metadataSize-areaSize), Tampered,
		},
	}
}

// fits is for areas between the headers and the data segment.
func (a area) fits() bool {
	offset, err := strconv.Atoi(a.Offset)
	return err == nil && strconv.Itoa(offset) == a.Offset &&
		offset >= headersSize && offset <= metadataSize-areaSize && offset%4096 == 0
}

func (k kdf) rules() []rule {
	most := min(maxKDFTime, maxKDFWork/max(k.Memory, 1))
	return []rule{
		{"keyslot kdf type", k.Type == "argon2id" && k.Hash == "" && k.Iterations == 0, k.Type, "argon2id", Foreign},
		equals("keyslot kdf salt length", len(k.Salt), saltSize, Tampered),
		between("keyslot kdf cpus", k.CPUs, 1, maxKDFCPUs),
		// libargon2 wants 8 KiB per lane at least.
		between("keyslot kdf memory", k.Memory, 8*min(k.CPUs, maxKDFCPUs), maxKDFMemory),
		between("keyslot kdf time", k.Time, 1, most),
	}
}

func between(field string, found, least, most uint32) rule {
	return rule{field, found >= least && found <= most, found, fmt.Sprintf("%d to %d", least, most), Tampered}
}

func (s segment) rules() []rule {
	var i integrity
	if s.Integrity != nil {
		i = *s.Integrity
	}
	return []rule{
		equals("segment type", s.Type, "crypt", Tampered),
		equals("segment offset", s.Offset, strconv.Itoa(metadataSize), Tampered),
		equals("segment size", s.Size, "dynamic", Tampered),
		equals("segment iv_tweak", s.IVTweak, "0", Tampered),
		equals("segment encryption", s.Encryption, "aes-xts-plain64", Tampered),
		equals("segment sector_size", s.SectorSize, sectorSize, Foreign),
		equals("segment integrity type", i.Type, "hmac(sha256)", Tampered),
		equals("segment integrity journal_encryption", i.JournalEncryption, "none", Tampered),
		equals("segment integrity journal_integrity", i.JournalIntegrity, "none", Tampered),
		{
			"segment integrity key_size", i.KeySize == 0 || i.KeySize == integritySize, i.KeySize,
			fmt.Sprintf("%d, or absent", integritySize), Tampered,
		},
	}
}

func (d digest) rules() []rule {
	return []rule{
		equals("digest type", d.Type, "pbkdf2", Tampered),
		equals("digest keyslots", strings.Join(d.Keyslots, ","), "0", Tampered),
		equals("digest segments", strings.Join(d.Segments, ","), "0", Tampered),
		equals("digest hash", d.Hash, "sha256", Tampered),
		between("digest iterations", d.Iterations, minDigestRounds, maxDigestRounds),
		equals("digest salt length", len(d.Salt), saltSize, Tampered),
		equals("digest length", len(d.Digest), digestSize, Tampered),
	}
}

func (c config) rules() []rule {
	return []rule{
		equals("config json_size", c.JSONSize, strconv.Itoa(jsonSize), Tampered),
		equals("config keyslots_size", c.KeyslotsSize, strconv.Itoa(keyslotsSize), Tampered),
	}
}

// checkCopies applies the rules between the two copies and returns the newer.
// A change of the header writes the first copy, then the second: where a power
// cut came between, they are one change apart.
func (l *ledger) checkCopies(primary, secondary header) (header, error) {
	p, s := primary.metadata.Digests["0"], secondary.metadata.Digests["0"]
	newer, older := primary, secondary
	if secondary.seqID > primary.seqID {
		newer, older = secondary, primary
	}
	apart := newer.seqID - older.seqID
	same := apart != 0 || equalJSON(primary.metadata, secondary.metadata)
	return newer, l.require("header copies",
		equals("uuid", secondary.id.String(), primary.id.String(), Tampered),
		holds("digest", bytes.Equal(p.Digest, s.Digest) && bytes.Equal(p.Salt, s.Salt), "two", "the same in both", Tampered),
		rule{"seqid", apart <= 1, words(fmt.Sprintf("%d and %d", primary.seqID, secondary.seqID)), "the same, or one apart", Tampered},
		holds("JSON", same, "two", "the same in both, under the same seqid", Tampered),
	)
}

func equalJSON(a, b metadata) bool {
	x, errX := a.encode()
	y, errY := b.encode()
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
