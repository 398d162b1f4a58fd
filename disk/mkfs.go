package disk

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"disk-mapper/internal/printable"
)

// label and the lack of reserved blocks are what systemd-makefs would choose.
const label = "state"

// features are all that the file system has, so that neither the version of
// mke2fs nor its configuration decides. Each kernel that can grow such a file
// system knows them. Growing needs 64bit and one of the two below.
var features = []string{
	"none", "has_journal", "ext_attr", "dir_index", "filetype", "extent", "64bit", "flex_bg",
	"sparse_super", "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum",
}

const (
	growsInReserve  = "resize_inode" // up to layout.reserve, then the kernel changes to meta_bg
	growsByMetaBG   = "meta_bg"
	mke2fsConfig    = "MKE2FS_CONFIG"
	mke2fsFirstFile = "/proc/self/fd/3" // the first of exec.Cmd.ExtraFiles
)

// builtInDefaults is mke2fs.conf, in memory. What is an option of the command line
// is named there. mke2fs picks one of the last four by the size, and warns if it is
// not there.
const builtInDefaults = `[defaults]
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	hash_alg = half_md4
[fs_types]
	ext4 = {
		blocksize = 4096
	}
	floppy = {
		blocksize = 4096
	}
	small = {
		blocksize = 4096
	}
	big = {
		blocksize = 4096
	}
	huge = {
		blocksize = 4096
	}
`

// mke2fs is the program, with all that it must know and nothing else.
type mke2fs struct{ path string }

// findMke2fs is called before a disk is changed.
func findMke2fs() (mke2fs, error) {
	path, err := exec.LookPath("mke2fs")
	if err != nil {
		return mke2fs{}, fmt.Errorf("mke2fs of e2fsprogs 1.47 or later is needed in this image: %w", err)
	}
	return mke2fs{path}, nil
}

// make makes the ext4 file system of a new disk, of size bytes and on zeros.
func (m mke2fs) make(ctx context.Context, l layout, mapping string, size int64) error {
	if err := m.run(ctx, l.mkfsArguments(mapping, size)); err != nil {
		return fmt.Errorf("making the file system: %w", err)
	}
	return nil
}

// try has mke2fs look at its arguments for a device of this layout, in memory.
func (m mke2fs) try(ctx context.Context, l layout, size int64) error {
	device, err := memoryFile(nil)
	if err != nil {
		return err
	}
	defer device.Close()
	if err := device.Truncate(l.size); err != nil {
		return fmt.Errorf("making a device of %d bytes in memory: %w", l.size, err)
	}
	arguments := append([]string{"-n"}, l.mkfsArguments("/proc/self/fd/4", size)...)
	if err := m.run(ctx, arguments, device); err != nil {
		return fmt.Errorf("mke2fs would not make a file system of %d bytes on a disk of %d, nothing was written: %w", size, l.size, err)
	}
	return nil
}

func (m mke2fs) run(ctx context.Context, arguments []string, devices ...*os.File) error {
	config, err := memoryFile([]byte(builtInDefaults))
	if err != nil {
		return err
	}
	defer config.Close()
	cmd := exec.CommandContext(ctx, m.path, arguments...)
	cmd.ExtraFiles = append([]*os.File{config}, devices...)
	cmd.Env = []string{mke2fsConfig + "=" + mke2fsFirstFile} // and no other variable that it would heed
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, printable.Text(strings.TrimSpace(string(out))))
	}
	return nil
}

// mkfsArguments name all that mke2fs would derive from the size, because that is
// not the final one.
func (l layout) mkfsArguments(mapping string, size int64) []string {
	extended := []string{
		"nodiscard",
		"assume_storage_prezeroed=1", // else it zeroes tables and journal again
	}
	grows := growsByMetaBG
	if l.reserve() > size {
		grows = growsInReserve
		extended = append(extended, "resize="+strconv.FormatInt(l.reserve()/blockSize, 10))
	}
	return []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(blockSize), "-I", "256", "-i", strconv.Itoa(inodeRatio), "-m", "0", "-L", label,
		"-O", strings.Join(append(features, grows), ","), "-e", "continue", "-G", "16", "-E", strings.Join(extended, ","),
		"-J", "size=" + strconv.FormatInt(l.journal()>>20, 10),
		mapping, strconv.FormatInt(size/1024, 10) + "k",
	}
}
