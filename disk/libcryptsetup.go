package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"disk-mapper/internal/keys"

	cryptsetup "github.com/martinjungblut/go-cryptsetup"
	"golang.org/x/sys/unix"
)

// Flags of libcryptsetup.h that the binding does not name. Without the work
// queues, dm-crypt encrypts in the context of the caller, which is faster on the
// disks of VMs.
const (
	noReadWorkqueue  = 1 << 24
	noWriteWorkqueue = 1 << 25
	mapFlags         = noReadWorkqueue | noWriteWorkqueue
	formatFlags      = mapFlags | cryptsetup.CRYPT_ACTIVATE_PRIVATE | cryptsetup.CRYPT_ACTIVATE_NO_JOURNAL
)

// library is libcryptsetup with what it said last: its log callback is global.
var library struct {
	sync.Mutex
	said []string
}

// onDisk runs fn on a libcryptsetup context that has the header file as its
// metadata and the disk as its data. fn stays on one OS thread, because the
// volume key lies in a keyring of the thread until the context is freed.
func onDisk(headerFile, disk string, fn func(*cryptsetup.Device) error) error {
	library.Lock()
	defer library.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	library.said = nil
	cryptsetup.TokenExternalDisable()
	cryptsetup.SetLogCallback(func(level int, message string) {
		if level == cryptsetup.CRYPT_LOG_ERROR {
			library.said = append(library.said, strings.TrimSpace(message))
		}
	})
	device, err := cryptsetup.InitDataDevice(headerFile, disk)
	if err == nil {
		defer device.Free()
		err = fn(device)
	}
	if err != nil && len(library.said) > 0 {
		err = fmt.Errorf("%w %s", err, strings.Join(library.said, "; "))
	}
	return err
}

// uncopied is a secret as the binding wants it, without a copy that could not be
// overwritten. It must not outlive the call it is made for. What remains is the
// binding's copy in C, which it frees and does not overwrite.
func uncopied(secret []byte) string { return unsafe.String(unsafe.SliceData(secret), len(secret)) }

// memoryFile holds a header where no storage can change it. The file is gone
// when it is closed, also by a crash.
func memoryFile(image []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("luks-header", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a header in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	if _, err := f.Write(image); err != nil {
		return nil, errors.Join(fmt.Errorf("making a header in memory: %w", err), f.Close())
	}
	return f, nil
}

// Unlock maps the disk as /dev/mapper/name under key. It fails with
// keys.ErrWrongKey, before anything is mapped, if the key does not open the disk.
func (d *Device) Unlock(ctx context.Context, name string, key keys.DiskKey) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	volumeKey, err := d.takeVolumeKey(key)
	if err != nil {
		return fmt.Errorf("unlocking %s: %w", d.path, err)
	}
	defer volumeKey.Wipe()
	return d.activate(name, volumeKey, mapFlags)
}

// takeVolumeKey derives the key only if it was not proven last.
func (d *Device) takeVolumeKey(key keys.DiskKey) (keys.VolumeKey, error) {
	if d.area == nil {
		return keys.VolumeKey{}, fmt.Errorf("it is %v: it has no keyslot", d.state)
	}
	if volumeKey, ok := d.proven.take(key); ok {
		return volumeKey, nil
	}
	return d.volumeKey(key)
}

// activate maps the disk from the header that was checked.
func (d *Device) activate(name string, volumeKey keys.VolumeKey, flags int) error {
	image, err := d.header.image(d.area)
	if err != nil {
		return fmt.Errorf("unlocking %s: %w", d.path, err)
	}
	f, err := memoryFile(image)
	if err != nil {
		return fmt.Errorf("unlocking %s: %w", d.path, err)
	}
	defer f.Close()
	err = onDisk(f.Name(), d.path, func(c *cryptsetup.Device) error {
		if err := c.Load(cryptsetup.LUKS2{}); err != nil {
			return err
		}
		if err := d.takeNewSize(c, volumeKey.Bytes()); err != nil {
			return err
		}
		return c.ActivateByVolumeKey(name, uncopied(volumeKey.Bytes()), volumeKeySize, flags)
	})
	if err != nil {
		return fmt.Errorf("unlocking %s as %s: %w", d.path, name, err)
	}
	return nil
}

// ReadSalt is the function ReadSalt for a disk that is not mapped: it maps it where
// no tool looks at it, and removes that again. Unlock with the same key does not
// derive it once more.
func (d *Device) ReadSalt(ctx context.Context, key keys.DiskKey, dir string) (keys.MeasurementSalt, error) {
	if ctx.Err() != nil {
		return keys.MeasurementSalt{}, context.Cause(ctx)
	}
	volumeKey, err := d.takeVolumeKey(key)
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("reading node state of %s: %w", d.path, err)
	}
	defer d.proven.keep(key, volumeKey)
	if err := d.activate(privateMapping, volumeKey, mapFlags|cryptsetup.CRYPT_ACTIVATE_PRIVATE); err != nil {
		return keys.MeasurementSalt{}, err
	}
	salt, err := ReadSalt("/dev/mapper/"+privateMapping, dir)
	if err := errors.Join(err, Close(privateMapping)); err != nil {
		return keys.MeasurementSalt{}, err
	}
	return salt, nil
}

// Close removes the mapping /dev/mapper/name, which Unlock made. The library gets
// an empty header: it would read, and perhaps repair, the one that the disk shows
// by now.
func Close(name string) error {
	f, err := memoryFile(make([]byte, headersSize))
	if err != nil {
		return fmt.Errorf("closing %s: %w", name, err)
	}
	defer f.Close()
	err = onDisk(f.Name(), f.Name(), func(c *cryptsetup.Device) error { return c.Deactivate(name) })
	if err != nil {
		return fmt.Errorf("closing %s: %w", name, err)
	}
	return nil
}

// privateMapping is the name of a mapping that no tool looks at: what was not
// written before has no tag and cannot be read, and what was written may not be
// parsed before it is measured.
const privateMapping = "disk-mapper-private"

// formatIntegrity writes the dm-integrity superblock and has fill write to the
// mapped device. The LUKS2 header that libcryptsetup makes for this stays in
// memory and is thrown away. It clears volumeKey.
func formatIntegrity(path string, journal uint64, id keys.DiskID, volumeKey []byte, fill func(mapping string) error) error {
	f, err := memoryFile(nil)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(metadataSize); err != nil {
		return err
	}
	return onDisk(f.Name(), path, func(c *cryptsetup.Device) error {
		err := c.Format(cryptsetup.LUKS2{
			SectorSize: sectorSize, Integrity: "hmac(sha256)", DataAlignment: metadataSize / 512, DataDevice: path,
			IntegrityParams: &cryptsetup.IntegrityParams{JournalSize: journal},
			PBKDFType: &cryptsetup.PbkdfType{
				Type: "argon2id", Hash: "sha256", Iterations: kdfTime, MaxMemoryKb: kdfMemory, ParallelThreads: kdfCPUs,
				Flags: cryptsetup.CRYPT_PBKDF_NO_BENCHMARK,
			},
		}, cryptsetup.GenericParams{
			Cipher: "aes", CipherMode: "xts-plain64", UUID: id.String(), VolumeKey: uncopied(volumeKey), VolumeKeySize: volumeKeySize,
		})
		if err != nil {
			return err
		}
		err = c.ActivateByVolumeKey(privateMapping, uncopied(volumeKey), volumeKeySize, formatFlags)
		clear(volumeKey) // filling takes long
		if err != nil {
			return err
		}
		return errors.Join(fill("/dev/mapper/"+privateMapping), c.Deactivate(privateMapping))
	})
}
