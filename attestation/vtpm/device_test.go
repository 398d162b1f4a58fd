package vtpm

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/legacy/tpm2"
	"github.com/google/go-tpm/tpmutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scripted answers the first commands of one kind by itself and hands all
// others to the TPM behind it.
type scripted struct {
	io.ReadWriteCloser
	command   tpmutil.Command // 0 means each command
	responses [][]byte
	pending   []byte
	sent      int
}

func (s *scripted) Write(command []byte) (int, error) {
	if len(s.responses) == 0 || s.command != 0 && commandCode(command) != s.command {
		return s.ReadWriteCloser.Write(command)
	}
	s.sent++
	s.pending, s.responses = s.responses[0], s.responses[1:]
	return len(command), nil
}

func (s *scripted) Read(p []byte) (int, error) {
	if s.pending == nil {
		return s.ReadWriteCloser.Read(p)
	}
	n := copy(p, s.pending)
	s.pending = nil
	return n, nil
}

// meddler does something with the TPM just before one kind of command.
type meddler struct {
	io.ReadWriteCloser
	before tpmutil.Command
	meddle func()
}

func (m *meddler) Write(command []byte) (int, error) {
	if commandCode(command) == m.before {
		m.meddle()
	}
	return m.ReadWriteCloser.Write(command)
}

func commandCode(command []byte) tpmutil.Command {
	return tpmutil.Command(binary.BigEndian.Uint32(command[6:]))
}

func responseOf(code uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, headerSize}, code)
}

func TestPutOffCommandsAreRepeated(t *testing.T) {
	for name, code := range map[string]uint32{"retry": 0x922, "yielded": 0x908, "testing": 0x90a, "object memory": 0x902} {
		t.Run(name, func(t *testing.T) {
			tpm := simulated(t)
			raw := &scripted{ReadWriteCloser: tpm.device.raw, responses: [][]byte{responseOf(code), responseOf(code)}}
			tpm.device.raw = raw
			_, err := tpm.ReadPCR(t.Context(), 15)
			require.NoError(t, err)
			assert.Equal(t, 2, raw.sent)
		})
	}
}

// stubborn gives the same response to all commands.
type stubborn struct {
	io.WriteCloser
	response []byte
}

func (stubborn) Write(command []byte) (int, error) { return len(command), nil }
func (s stubborn) Read(p []byte) (int, error)      { return copy(p, s.response), nil }

func TestPutOffEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		tpm := New(stubborn{response: responseOf(warning(tpm2.RCRetry))}, logOf(nil))
		_, err := tpm.ReadPCR(t.Context(), 15)
		assert.ErrorContains(t, err, "TPM_RC_RETRY")
		assert.LessOrEqual(t, time.Since(start), patience)
	})
}

func TestStatesOfTheTPMInWords(t *testing.T) {
	short := responseOf(0)
	short[5] = 3
	cases := map[string]struct {
		response []byte
		want     string
	}{
		"failure mode":             {responseOf(0x101), "TPM failure mode"},
		"dictionary attack lock":   {responseOf(warning(tpm2.RCLockout)), "TPM in DA lockout"},
		"response cut in the head": {[]byte{0x80, 0x01, 0}, "EOF"},
		"impossible size":          {short, "claims to have 3"},
		"larger than announced":    {append(responseOf(0), 1), "response of 11 bytes claims to have 10"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tpm := New(&once{stubborn{response: c.response}, false}, logOf(nil))
			_, err := tpm.ReadPCR(t.Context(), 15)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// once gives its response to the first read and is at its end then.
type once struct {
	stubborn
	read bool
}

func (o *once) Read(p []byte) (int, error) {
	if o.read {
		return 0, io.EOF
	}
	o.read = true
	return o.stubborn.Read(p)
}

func TestResponseInPieces(t *testing.T) {
	piece := bytes.NewReader(append(responseOf(0)[:5], append([]byte{12}, 0, 0, 0, 0, 'o', 'k')...))
	d := device{raw: struct {
		io.Reader
		io.Writer
		io.Closer
	}{oneByte{piece}, io.Discard, nil}}
	_, err := d.Write([]byte("command"))
	require.NoError(t, err)
	assert.Equal(t, "ok", string(d.response[headerSize:]))
}

type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:1]) }

func TestOpenNamesEachPathTried(t *testing.T) {
	first, second := filepath.Join(t.TempDir(), "tpmrm0"), filepath.Join(t.TempDir(), "tpm0")
	_, err := openFirst([]string{first, second})
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.ErrorContains(t, err, first)
	assert.ErrorContains(t, err, second)
}

func TestOpenDoesNotPassOverABrokenDevice(t *testing.T) {
	directory, second := t.TempDir(), filepath.Join(t.TempDir(), "tpm0")
	_, err := openFirst([]string{directory, second})
	require.ErrorContains(t, err, directory)
	assert.NotContains(t, err.Error(), second)
}
