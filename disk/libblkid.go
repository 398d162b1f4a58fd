package disk

// #cgo LDFLAGS: -lblkid
// #include <stdlib.h>
// #include <blkid/blkid.h>
//
// // What blkid_do_safeprobe returns.
// enum { FOUND = 0, NOTHING = 1, AMBIVALENT = -2 };
import "C"

import (
	"errors"
	"os"
	"unsafe"
)

// probe has libblkid look for file systems, RAID members and the like, and for
// partition tables, also for those whose checksums are wrong. It returns the name
// of what it found, and an empty one only if the library says that there is
// nothing. It reads f and does not write. The library parses what the host wrote:
// nothing may call this but OpenNonzero and what an operator starts.
func probe(f *os.File) (string, error) {
	p := C.blkid_new_probe()
	if p == nil {
		return "", errors.New("no memory for a probe")
	}
	defer C.blkid_free_probe(p)
	if C.blkid_probe_set_device(p, C.int(f.Fd()), 0, 0) != 0 ||
		C.blkid_probe_enable_superblocks(p, 1) != 0 ||
		C.blkid_probe_set_superblocks_flags(p, C.BLKID_SUBLKS_TYPE|C.BLKID_SUBLKS_MAGIC|C.BLKID_SUBLKS_BADCSUM) != 0 ||
		C.blkid_probe_enable_partitions(p, 1) != 0 ||
		C.blkid_probe_set_partitions_flags(p, C.BLKID_PARTS_FORCE_GPT|C.BLKID_PARTS_MAGIC) != 0 ||
		C.blkid_probe_enable_topology(p, 0) != 0 {
		return "", errors.New("the probe cannot be set up")
	}
	switch C.blkid_do_safeprobe(p) {
	case C.FOUND:
		for _, name := range []string{"TYPE", "PTTYPE"} {
			if value := lookup(p, name); value != "" {
				return value, nil
			}
		}
		return "something", nil
	case C.AMBIVALENT:
		return "several things at once", nil
	case C.NOTHING:
		return "", nil
	}
	return "", errors.New("the probe failed")
}

func lookup(p C.blkid_probe, name string) string {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	var value *C.char
	if C.blkid_probe_lookup_value(p, cName, &value, nil) != 0 {
		return ""
	}
	return C.GoString(value)
}
