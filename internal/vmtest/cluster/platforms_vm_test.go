//go:build vm

package cluster

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/internal/vmtest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// aPlatform is what a VM under QEMU can have of a platform: its metadata service
// at its address, and its disks as far as QEMU can imitate them. Its API cannot be
// had, and its attestation has no hardware here.
type aPlatform struct {
	name string
	bus  vmtest.Bus
	disk string // as the daemon finds it; the kernel names SCSI and NVMe disks in any order
	// rule makes the link that the platform's own rules make of what QEMU cannot show.
	rule    string
	answers map[string]string // by method and path
	role    bool              // the answers name the role of the node
}

const instanceOfAzure = `{"compute":{"name":"node_0","resourceId":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/ss/virtualMachines/0",
"subscriptionId":"s","resourceGroupName":"g","vmScaleSetName":"ss","osProfile":{"computerName":"node000000"},
"tagsList":[{"name":"constellation-role","value":"control-plane"},{"name":"constellation-uid","value":"u"}]},
"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.9.0.4","publicIpAddress":""}]}}]}}`

var aPlatforms = []aPlatform{
	{
		name: "azure", bus: vmtest.SCSI, disk: "/dev/sd[ab]", role: true,
		rule:    `SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", KERNELS=="*:0:0:1", SYMLINK+="disk/azure/scsi1/lun0"`,
		answers: map[string]string{"GET /metadata/instance": instanceOfAzure},
	},
	{
		name: "gcp", bus: vmtest.SCSI, disk: "/dev/sd[ab]",
		answers: map[string]string{
			"GET /computeMetadata/v1/project/project-id": "p", "GET /computeMetadata/v1/instance/zone": "projects/1/zones/europe-west12-a",
			"GET /computeMetadata/v1/instance/name": "node",
		},
	},
	{
		name: "aws", bus: vmtest.NVMe, disk: "/dev/nvme[01]n1",
		rule: `SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ATTRS{serial}=="state-disk*", SYMLINK+="sdb"`,
		answers: map[string]string{
			"PUT /latest/api/token":                             "token",
			"GET /latest/dynamic/instance-identity/document":    `{"instanceId":"i-0","availabilityZone":"eu-central-1a","region":"eu-central-1","privateIp":"10.9.0.4"}`,
			"GET /latest/meta-data/iam/security-credentials/":   "",
			"GET /latest/meta-data/placement/availability-zone": "eu-central-1a",
		},
	},
	{
		name: "openstack", bus: vmtest.Virtio, disk: "/dev/vdb", role: true,
		answers: map[string]string{
			"GET /openstack/2018-08-27/meta_data.json": `{"uuid":"1","project_id":"p","name":"node","meta":{"constellation-role":"control-plane","constellation-uid":"u"}}`,
			"GET /openstack/2018-08-27/user_data":      `{"openstack-auth-url":"http://192.0.2.77/v3","openstack-user-domain-name":"d","openstack-region-name":"r","openstack-username":"u","openstack-password":"p","openstack-load-balancer-endpoint":"192.0.2.77"}`,
			"GET /1.0/meta-data/local-ipv4":            "10.9.0.4",
		},
	},
}

// metadataService is at the link-local address of clouds, for one guest.
type metadataService struct {
	answers map[string]string
	sync.Mutex
	asked []string
}

func (s *metadataService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + r.URL.Path
	s.Lock()
	s.asked = append(s.asked, call)
	s.Unlock()
	answer, ok := s.answers[call]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Metadata-Flavor", "Google")
	if strings.HasPrefix(answer, "{") {
		w.Header().Set("Content-Type", "application/json")
	}
	if r.Method == http.MethodPut {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
	}
	_, _ = fmt.Fprint(w, answer)
}

func (s *metadataService) calls() []string {
	s.Lock()
	defer s.Unlock()
	return s.asked
}

func startMetadataService(t *testing.T, answers map[string]string) *metadataService {
	t.Helper()
	s := &metadataService{answers: answers}
	listener, err := net.Listen("tcp", "127.0.0.1:80") // which is MetadataAddress for the guest
	require.NoError(t, err)
	server := &http.Server{Handler: s}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// TestPlatforms formats, rejoins and recovers a node on each platform.
func TestPlatforms(t *testing.T) {
	for _, p := range aPlatforms {
		t.Run(p.name, p.test)
	}
}

func (p aPlatform) test(t *testing.T) {
	n := newNode(t, attestation.Profile224)
	service := startMetadataService(t, p.answers)
	require.NoError(t, vmtest.NewDisk(n.disk, 64<<20))
	vm := p.boot(t, n)
	waitFor(t, vm, "State disk is ready")
	assert.Regexp(t, `"msg":"Preparing new state disk","device":"`+p.disk+`"`, console(vm))
	assert.Empty(t, service.calls(), "a first boot asks nobody")
	assert.NotContains(t, console(vm), waitOnline, "a first boot needs no network")
	vm.Kill()

	n.oldDisk(t)
	require.NoError(t, n.StartJoinService(t.Context()))
	vm = p.boot(t, n)
	waitFor(t, vm, "State disk is ready")
	assert.Contains(t, console(vm), "Successfully retrieved rejoin ticket")
	vm.Kill()
	require.NoError(t, n.StopJoinService())

	vm = p.boot(t, n)
	waitFor(t, vm, "Starting RecoveryServer")
	assert.Equal(t, !p.role, strings.Contains(console(vm), "The role of this node is unknown"))
	outcome := n.operator(t, n.RecoverArgs()...)
	assert.Zero(t, outcome.Exit)
	waitEnd(t, vm, vmtest.PowerOff)
	assert.Contains(t, console(vm), "node: history: first boot, long ago\n")
	assert.NotEmpty(t, service.calls())
	for call := range p.answers {
		if !strings.Contains(call, "iam") && !strings.Contains(call, "placement") {
			assert.Contains(t, service.calls(), call)
		}
	}
}

// lateDisks loads the driver of SCSI disks after the daemon has started: a unit's
// permissions for devices are made when it starts.
const lateDisks = `install sd_mod /bin/sh -c 'until systemctl is-active disk-mapper | grep -q "^activating"; do sleep 0.2; done; sleep 1; exec modprobe --ignore-install sd_mod'
`

// waitOnline is a line of whoever has the boot wait for the network.
const waitOnline = "somebody waits for the network"

func (p aPlatform) boot(t *testing.T, n node) *vmtest.VM {
	t.Helper()
	config := n.NodeConfig(n.image, t.Output(), n.disk)
	config.Firmware, config.LinkLocal, config.Bus = vmtest.BIOS, true, p.bus
	config.Cmdline = withWords(config.Cmdline, "constel.csp="+p.name, "constel.join-endpoints=joinservice.test")
	config.Overlay = append(config.Overlay,
		vmtest.File{Path: "/etc/hosts", Content: []byte(vmtest.MetadataAddress + " joinservice.test\n")},
		vmtest.File{Path: "/usr/lib/udev/rules.d/66-imitation.rules", Content: []byte(p.rule + "\n")},
		vmtest.File{
			Path:    "/usr/lib/systemd/system/systemd-networkd-wait-online.service.d/tell.conf",
			Content: []byte("[Service]\nExecStartPre=/bin/sh -c 'echo " + waitOnline + " >/dev/console'\n"),
		},
		vmtest.File{Path: "/etc/modprobe.d/late.conf", Content: []byte(lateDisks)})
	vm, err := vmtest.Boot(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, vm.Close()) })
	return vm
}
