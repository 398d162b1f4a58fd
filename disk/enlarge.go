package disk

import (
	"context"
	"errors"

	cryptsetup "github.com/martinjungblut/go-cryptsetup"
)

// takeNewSize is for a disk that has become larger: when it is mapped, dm-integrity
// enters the new size into its superblock, but libcryptsetup maps what was there
// before. So the disk is mapped twice, where no tool looks at it, and the end of
// the new part is wiped before one does. The file system grows later (Grow).
func takeNewSize(c *cryptsetup.Device, volumeKey []byte) error {
	privately := func(use func()) error {
		err := c.ActivateByVolumeKey(privateMapping, uncopied(volumeKey), volumeKeySize, mapFlags|cryptsetup.CRYPT_ACTIVATE_PRIVATE)
		if err != nil {
			return err
		}
		use()
		return c.Deactivate(privateMapping)
	}
	return errors.Join(privately(func() {}), privately(wipeNewEnd))
}

// wipeNewEnd goes by the file system, whose size is authenticated, and not by what
// dm-integrity's superblock said, which is not. To fail costs no more than a few
// lines of the kernel about sectors without tags.
func wipeNewEnd() {
	const mapping = "/dev/mapper/" + privateMapping
	l, fileSystem, err := measure(mapping)
	if err != nil {
		return
	}
	w, err := openWiper(mapping)
	if err != nil {
		return
	}
	defer w.Close()
	_ = w.wipe(context.Background(), l.end(fileSystem), func(int64) {})
	_ = w.device.Sync()
}
