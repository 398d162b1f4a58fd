package disk

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSignatures: each is found on a disk of noise, so that no zeros around it
// are needed, and none is found on noise alone.
func TestSignatures(t *testing.T) {
	noise := []byte(strings.Repeat("noise!!", minSize/7+1))[:minSize]
	for i, sig := range signatures {
		t.Run(fmt.Sprint(i, " ", sig.name), func(t *testing.T) {
			at := sig.offset
			if at < 0 {
				at += minSize
			}
			place := noise[at:][:len(sig.magic)]
			was := slices.Clone(place)
			defer copy(place, was)
			copy(place, sig.magic)
			_, err := diskOf(noise)
			var refusal *Refusal
			require.ErrorAs(t, err, &refusal)
			assert.Equal(t, "signature", refusal.Field)
			assert.Equal(t, Foreign, refusal.Meaning)
		})
	}
	d, err := diskOf(noise)
	require.NoError(t, err)
	assert.Equal(t, Blank, d.State())
}

// TestSignaturesKnowWhatBlkidKnows: what the system's own tool would recognise
// is not blank to us.
func TestSignaturesKnowWhatBlkidKnows(t *testing.T) {
	known := map[string]string{ // to blkid, and to us
		"linux_raid_member": "Linux RAID", "ddf_raid_member": "DDF", "isw_raid_member": "Intel RAID", "lsi_mega_raid_member": "LSI MegaRAID",
		"via_raid_member": "VIA RAID", "silicon_medley_raid_member": "Silicon Medley", "nvidia_raid_member": "NVIDIA",
		"promise_fasttrack_raid_member": "Promise FastTrak", "hpt45x_raid_member": "HighPoint", "hpt37x_raid_member": "HighPoint",
		"adaptec_raid_member": "Adaptec", "jmicron_raid_member": "JMicron", "bcache": "bcache", "ceph_bluestore": "BlueStore", "drbd": "DRBD device",
		"drbdmanage_control_volume": "DRBD control", "drbdproxy_datalog": "DRBD proxy", "LVM2_member": "LVM physical", "LVM1_member": "LVM1",
		"DM_snapshot_cow": "snapshot of device-mapper", "DM_verity_hash": "dm-verity", "DM_integrity": "dm-integrity", "VMFS_volume_member": "VMFS volume",
		"ubi": "UBI volume", "vdo": "VDO", "stratis": "Stratis", "BitLocker": "BitLocker", "vfat": "FAT", "swsuspend": "hibernated", "swap": "swap",
		"xfs": "XFS file", "xfs_external_log": "journal of XFS", "exfs": "exFS", "ext4dev": "ext4", "ext4": "ext4", "ext3": "ext3", "ext2": "ext2", "jbd": "ext4",
		"reiserfs": "ReiserFS", "reiser4": "Reiser4", "jfs": "JFS", "udf": "UDF", "iso9660": "ISO 9660", "hfsplus": "HFS+", "hfs": "HFS file",
		"ufs": "UFS", "hpfs": "HPFS", "sysv": "System V", "xenix": "Xenix", "ntfs": "NTFS", "ReFS": "ReFS", "ocfs": "OCFS file", "cramfs": "CramFS", "romfs": "ROMFS",
		"minix": "Minix", "gfs": "GFS", "gfs2": "GFS2", "ocfs2": "OCFS2", "oracleasm": "Oracle ASM", "vxfs": "VxFS", "squashfs": "SquashFS", "squashfs3": "SquashFS",
		"nss": "NSS", "btrfs": "Btrfs", "ubifs": "UBIFS", "bfs": "BFS", "VMFS": "VMFS file", "befs": "BeFS", "nilfs2": "NILFS2", "exfat": "exFAT", "f2fs": "F2FS",
		"mpool": "mpool", "apfs": "APFS", "zonefs": "Zonefs", "erofs": "EROFS", "bcachefs": "bcachefs", "cs_fvault2": "FileVault", "bluestore": "BlueStore",
	}
	byCode := []string{"crypto_LUKS", "zfs_member"} // found by foreign itself
	out, err := exec.CommandContext(t.Context(), "blkid", "-k").Output()
	require.NoError(t, err)
	for name := range strings.FieldsSeq(string(out)) {
		if slices.Contains(byCode, name) {
			continue
		}
		ours, listed := known[name]
		if assert.True(t, listed, "blkid knows %s", name) {
			assert.True(t, slices.ContainsFunc(signatures, func(s signature) bool { return strings.Contains(s.name, ours) }), "no signature for %s", name)
		}
	}
}
