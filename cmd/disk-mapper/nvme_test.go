package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// page has text in it at offset; what is around it is what a controller would fill.
func page(offset int, text string) *identifyPage {
	p := new(identifyPage)
	for i := range 384 { // sizes, formats, identifiers
		p[i] = byte(i)
	}
	copy(p[offset:], text)
	return p
}

func TestGCPDiskName(t *testing.T) {
	for name, tc := range map[string]struct {
		page *identifyPage
		want string
	}{
		"state disk":         {page(384, `{"device_name":"state-disk","disk_type":"PERSISTENT"}`), "state-disk"},
		"other order":        {page(384, ` { "disk_type": "PERSISTENT", "device_name": "state-disk" } `), "state-disk"},
		"other disk":         {page(384, `{"device_name":"persistent-disk-0","disk_type":"PERSISTENT"}`), "persistent-disk-0"},
		"filled with spaces": {page(384, `{"device_name":"state-disk"}`+strings.Repeat(" ", 4096-384-28)), "state-disk"},
		"empty area":         {page(384, ""), ""},
		"one byte early":     {page(383, `{"device_name":"state-disk"}`), ""},
		"one byte late":      {page(385, `{"device_name":"state-disk"}`), ""},
		"name in capitals":   {page(384, `{"Device_Name":"state-disk"}`), ""},
		"no member":          {page(384, `{"disk_type":"PERSISTENT"}`), ""},
		"not a string":       {page(384, `{"device_name":7}`), ""},
		"in a list":          {page(384, `[{"device_name":"state-disk"}]`), ""},
		"truncated":          {page(384, `{"device_name":"state-disk"`), ""},
		"two values":         {page(384, `{"device_name":"state-disk"}{}`), ""},
		"after a NUL":        {page(384, "\x00"+`{"device_name":"state-disk"}`), ""},
		"nested":             {page(384, strings.Repeat("[", 4096-384)), ""},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, gcpDiskName(tc.page)) })
	}
}

func TestAWSDiskName(t *testing.T) {
	padded := func(name string) string { return name + strings.Repeat(" ", 32-len(name)) }
	for name, tc := range map[string]struct {
		page *identifyPage
		want string
	}{
		"short":               {page(3072, padded("sdb")), "sdb"},
		"path":                {page(3072, padded("/dev/sdb")), "sdb"},
		"filled with zeros":   {page(3072, "sdb"), "sdb"},
		"more after 32 bytes": {page(3072, padded("sdb")+"c"), "sdb"},
		"root":                {page(3072, padded("/dev/xvda")), "xvda"},
		"longer":              {page(3072, padded("sdbc")), "sdbc"},
		"32 bytes":            {page(3072, strings.Repeat("x", 33)), strings.Repeat("x", 32)},
		"empty":               {page(3072, padded("")), ""},
		"one byte early":      {page(3071, padded("sdb")), "db"},
		"one byte late":       {page(3073, padded("sdb")), "\x00sdb"},
		"leading space":       {page(3072, padded(" sdb")), " sdb"},
		"space within":        {page(3072, padded("sd b")), "sd b"},
		"twice a path":        {page(3072, padded("/dev//dev/sdb")), "/dev/sdb"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, awsDiskName(tc.page)) })
	}
}

// FuzzIdentifyPages: whatever a controller says, there is a name, or none, of no
// more than what was said.
func FuzzIdentifyPages(f *testing.F) {
	f.Add([]byte(`{"device_name":"state-disk","disk_type":"PERSISTENT"}`), []byte("/dev/sdb   "))
	f.Add([]byte(`{"device_name":"x"}`), []byte("sdb"))
	f.Add([]byte("\xff[[[["), []byte(strings.Repeat("\x00", 32)))
	f.Fuzz(func(t *testing.T, namespace, controller []byte) {
		p := new(identifyPage)
		copy(p[384:], namespace)
		copy(p[3072:], controller)
		assert.LessOrEqual(t, len(gcpDiskName(p)), 3*len(p), "invalid UTF-8 takes 3 bytes each")
		name := awsDiskName(p)
		assert.LessOrEqual(t, len(name), 32)
		assert.Contains(t, string(p[3072:3104]), name)
	})
}

// TestNVMeCommand: the kernel's numbers say how long the command is.
func TestNVMeCommand(t *testing.T) {
	assert.EqualValues(t, nvmeAdmin>>16&0x3fff, unsafe.Sizeof(nvmeCommand{}))
	assert.EqualValues(t, 24, unsafe.Offsetof(nvmeCommand{}.address))
	assert.EqualValues(t, 36, unsafe.Offsetof(nvmeCommand{}.length))
	assert.EqualValues(t, 40, unsafe.Offsetof(nvmeCommand{}.cdw10))
	assert.EqualValues(t, 64, unsafe.Offsetof(nvmeCommand{}.timeoutMS))
}

func TestIdentifyWhatIsNoNVMe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	for _, structure := range []uint32{ofNamespace, ofController} {
		_, err := identifyNVMe(path, structure)
		require.ErrorContains(t, err, path)
	}
	_, err := identifyNVMe(path+"-not-there", ofController)
	require.ErrorIs(t, err, os.ErrNotExist)
}
