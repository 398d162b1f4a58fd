package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"disk-mapper/internal/exactjson"
	"disk-mapper/internal/keys"

	"golang.org/x/sys/unix"
)

// nodeStatePath is where a node keeps the cluster's salt, within its state disk.
const nodeStatePath = "constellation/node_state.json"

// maxNodeState bounds the file: a valid one has about 100 bytes.
const maxNodeState = 4096

// nodeState is the file that makes a disk the state of a node. Published format:
// tab-indented JSON without a final newline, mode 0600.
type nodeState struct {
	Role            string
	MeasurementSalt []byte
}

// Roles of a node as node_state.json writes them.
const (
	RoleControlPlane = "ControlPlane"
	RoleWorker       = "Worker"
)

// ReadSalt reads the cluster's salt from node_state.json on the mapped disk,
// through a private read-only mount at dir. Mount and dir are gone when it
// returns. What is not there may be in the journal of a file system that lost its
// power: only then is the journal replayed, as the booted system would do next.
func ReadSalt(mapping, dir string) (keys.MeasurementSalt, error) {
	salt, err := readMounted(mapping, dir, withoutJournal)
	if err != nil && needsRecovery(mapping) {
		salt, err = readMounted(mapping, dir, withJournal)
	}
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("reading node state: %w", explain(err))
	}
	return salt, nil
}

// Options of a mount of ext4.
const (
	withJournal    = ""
	withoutJournal = "noload"
)

// needsRecovery reports whether ext4's superblock says that the file system was
// not unmounted. What is no ext4 needs none.
func needsRecovery(mapping string) bool {
	raw, _, err := readExt4(mapping)
	return err == nil && isExt4(raw) && binary.LittleEndian.Uint32(raw[ext4Incompat:])&ext4NeedsRecovery != 0
}

func readMounted(mapping, dir, options string) (salt keys.MeasurementSalt, err error) {
	err = mounted(mapping, dir, options, func() (err error) {
		salt, err = readNodeState(dir)
		return err
	})
	return salt, err
}

// mounted calls read while the file system of mapping can be seen at dir.
func mounted(mapping, dir, options string, read func() error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(mapping, dir, "ext4", flags, options); err != nil {
		return errors.Join(fmt.Errorf("mounting %s as ext4: %w", mapping, err), os.Remove(dir))
	}
	return errors.Join(read(), unmount(dir), os.Remove(dir))
}

// unmount takes the mount away also when something holds a file on it, so that
// nobody finds the disk there; the error says that the mapping is still in use.
func unmount(dir string) error {
	err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("unmounting %s: %w", dir, err), unix.Unmount(dir, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH))
}

// explain says what an I/O error means on a disk with authenticated encryption.
func explain(err error) error {
	if errors.Is(err, unix.EIO) || errors.Is(err, unix.EILSEQ) {
		return fmt.Errorf("the disk is damaged or was tampered with: %w", err)
	}
	if errors.Is(err, errNoState) || errors.Is(err, errEmpty) {
		return fmt.Errorf("the disk has a key of a cluster and not the cluster's salt, which nobody can bring; "+
			"the power was lost before a bootstrapper's file reached the disk, or somebody removed it: remove the node from its cluster, wipe the disk and join anew; "+
			"where the header has the salt, as disk-mapper inspect shows, it is the file alone that was removed: %w", err)
	}
	return err
}

// errNoState is for a disk without the file.
var errNoState = errors.New(nodeStatePath + " is not there")

// errEmpty is for a file whose name reached the disk, and whose content did not.
var errEmpty = errors.New(nodeStatePath + " is empty")

// readNodeState follows no symbolic link and opens nothing but a regular file,
// because whoever wrote the disk chose what lies there.
func readNodeState(root string) (keys.MeasurementSalt, error) {
	f, err := openWithin(root, nodeStatePath)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errNoState, err)
	}
	if err != nil {
		return keys.MeasurementSalt{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return keys.MeasurementSalt{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxNodeState {
		return keys.MeasurementSalt{}, refuse(nodeStatePath, fmt.Sprintf("%v of %d bytes", info.Mode(), info.Size()), "a regular file of at most 4096 bytes")
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxNodeState))
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("%s: %w", nodeStatePath, err)
	}
	return parseNodeState(raw)
}

// openWithin opens path step by step, so that no part of it can be a symbolic
// link. openat2 would do it in one call, but systemd's RestrictSUIDSGID= denies it.
func openWithin(root, path string) (*os.File, error) {
	at, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	for step := range strings.SplitSeq(path, "/") {
		next, err := unix.Openat(at, step, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(at)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		at = next
	}
	return os.NewFile(uintptr(at), path), nil
}

func parseNodeState(raw []byte) (keys.MeasurementSalt, error) {
	if isZero(raw) {
		return keys.MeasurementSalt{}, errEmpty
	}
	var s nodeState
	if err := exactjson.Unmarshal(raw, &s); err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("%s: %w", nodeStatePath, err)
	}
	if s.Role != RoleControlPlane && s.Role != RoleWorker {
		return keys.MeasurementSalt{}, refuse(nodeStatePath+" Role", s.Role, RoleControlPlane+" or "+RoleWorker)
	}
	salt, err := keys.NewMeasurementSalt(s.MeasurementSalt)
	if err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("%s: %w", nodeStatePath, err)
	}
	return salt, nil
}

// WriteNodeState writes node_state.json below root, where the state disk is
// mounted, and returns when it is on the disk. It fails if the file is there
// already.
func WriteNodeState(root, role string, salt keys.MeasurementSalt) error {
	raw, err := json.MarshalIndent(nodeState{Role: role, MeasurementSalt: salt.Bytes()}, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(root, nodeStatePath)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing node state: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing node state: %w", err)
	}
	_, writeErr := f.Write(raw)
	if err := errors.Join(writeErr, f.Sync(), f.Close(), syncFS(root)); err != nil {
		return fmt.Errorf("writing node state: %w", err)
	}
	return nil
}

// syncFS makes the new directory entries durable as well.
func syncFS(root string) error {
	f, err := os.Open(root)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
