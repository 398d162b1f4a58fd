package vmtest

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestArguments(t *testing.T) {
	files := bootFiles{initrd: "/scratch/initrd", variables: "/scratch/variables"}
	tests := map[string]struct {
		config Config
		want   []string // each in one piece
		absent []string // nowhere
	}{
		"nothing but an image": {
			Config{Image: Image{Kernel: "/k"}},
			[]string{"-no-reboot", "-accel tcg,thread=multi", "-kernel /k -initrd /scratch/initrd", "if=pflash,unit=1,format=raw,file=/scratch/variables"},
			[]string{"kvm", "tpm", "hostfwd", "virtio-blk"},
		},
		"BIOS": {
			Config{Firmware: BIOS}, nil, []string{"pflash"},
		},
		"the guest's network": {
			Config{}, []string{"-netdev user,id=net,ipv6=off,net=10.42.0.0/24,host=10.42.0.1,dhcpstart=10.42.0.15 -device virtio-net-pci,netdev=net,romfile="}, nil,
		},
		"recovery port": {
			Config{RecoveryPort: 4711}, []string{",hostfwd=tcp:127.0.0.1:4711-10.42.0.15:9999 "}, nil,
		},
		"disks in order": {
			Config{Disks: []string{"/a", "/b,c"}},
			[]string{"-drive if=none,id=disk0,format=raw,cache=unsafe,file=/a -device virtio-blk-pci,drive=disk0 " +
				"-drive if=none,id=disk1,format=raw,cache=unsafe,file=/b,,c -device virtio-blk-pci,drive=disk1"}, nil,
		},
		"SCSI": {
			Config{Disks: []string{"/d/boot", "/d/state-disk"}, Bus: SCSI},
			[]string{"-device virtio-scsi-pci,id=scsi ", "-device scsi-hd,bus=scsi.0,scsi-id=0,lun=1,drive=disk1,vendor=Google,product=PersistentDisk,serial=state-disk "},
			[]string{"virtio-blk"},
		},
		"NVMe": {
			Config{Disks: []string{"/d/a,b"}, Bus: NVMe}, []string{"-device nvme,drive=disk0,serial=a,,b "}, []string{"virtio-blk", "scsi"},
		},
		"link-local": {
			Config{LinkLocal: true, RecoveryPort: 4711},
			[]string{"net=169.254.169.0/24,host=169.254.169.254,dhcpstart=169.254.169.15,hostfwd=tcp:127.0.0.1:4711-169.254.169.15:9999 "}, []string{"10.42"},
		},
		"TPM": {
			Config{TPM: TPM{StateDir: "/tpm"}},
			[]string{"-chardev socket,id=tpm,fd=4 -tpmdev emulator,id=tpm,chardev=tpm -device tpm-crb,tpmdev=tpm"}, []string{"/tpm "},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			args := strings.Join(arguments(tc.config, files), " ") + " "
			for _, want := range tc.want {
				assert.Contains(t, args, want)
			}
			for _, absent := range tc.absent {
				assert.NotContains(t, args, absent)
			}
		})
	}
}

func TestKernelCommandLine(t *testing.T) {
	args := arguments(Config{Cmdline: []string{"loglevel=7", "constel.csp=qemu"}}, bootFiles{})
	i := slices.Index(args, "-append")
	require.GreaterOrEqual(t, i, 0)
	cmdline := strings.Fields(args[i+1])
	assert.Equal(t, baseCmdline, cmdline[:len(baseCmdline)])
	assert.Equal(t, []string{"loglevel=7", "constel.csp=qemu"}, cmdline[len(baseCmdline):], "the caller has the last word")
}
