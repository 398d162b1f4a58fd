package vtpm

import (
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-tpm-tools/client"
	"github.com/google/go-tpm-tools/simulator"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// someLog stands for the firmware's event log, which no emulator has.
var someLog = []byte("event log of the firmware")

func logOf(log []byte) func() ([]byte, error) { return func() ([]byte, error) { return log, nil } }

// banks names the PCR banks of the TPMs that the tests run on.
var banks = map[string]string{
	"one bank":   "sha256",
	"four banks": "sha1,sha256,sha384,sha512",
}

// startSWTPM runs a software TPM of its own process with the given banks,
// connected to it by a pair of sockets. The test fails where swtpm is not
// installed.
func startSWTPM(t testing.TB, banks string) io.ReadWriteCloser {
	t.Helper()
	state := swtpmState(t, banks)
	ours, theirs := socketPair(t)
	process := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state,
		"--fd", "3", "--flags", "not-need-init,startup-clear")
	process.ExtraFiles = []*os.File{theirs}
	require.NoError(t, process.Start())
	require.NoError(t, theirs.Close())
	t.Cleanup(func() {
		_ = ours.Close() // swtpm ends with its connection
		require.NoError(t, process.Wait())
	})
	return ours
}

// swtpmState is the directory of a new software TPM.
func swtpmState(t testing.TB, banks string) string {
	t.Helper()
	for _, tool := range []string{"swtpm", "swtpm_setup"} {
		_, err := exec.LookPath(tool)
		require.NoErrorf(t, err, "these tests need %s: install the packages swtpm and swtpm-tools", tool)
	}
	state, err := os.MkdirTemp("", "swtpm") // t.TempDir may have a comma, which swtpm takes for the end
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	out, err := exec.Command("swtpm_setup", "--tpm2", "--tpmstate", state, "--pcr-banks", banks).CombinedOutput()
	require.NoErrorf(t, err, "swtpm_setup: %s", out)
	return state
}

func socketPair(t testing.TB) (ours net.Conn, theirs *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	mine := os.NewFile(uintptr(fds[0]), "TPM")
	defer mine.Close()
	ours, err = net.FileConn(mine)
	require.NoError(t, err)
	return ours, os.NewFile(uintptr(fds[1]), "swtpm")
}

// onSWTPM is a TPM over startSWTPM that is checked for leaked handles.
func onSWTPM(t testing.TB, banks string) *TPM {
	t.Helper()
	return checked(t, New(startSWTPM(t, banks), logOf(someLog)))
}

// simulated is a TPM in this process. There is one at a time.
func simulated(t testing.TB) *TPM {
	t.Helper()
	sim, err := simulator.Get()
	require.NoError(t, err)
	return checked(t, New(sim, logOf(someLog)))
}

func checked(t testing.TB, tpm *TPM) *TPM {
	t.Cleanup(func() {
		client.CheckedClose(t, struct {
			io.ReadWriter
			io.Closer
		}{tpm.device, tpm})
	})
	return tpm
}
