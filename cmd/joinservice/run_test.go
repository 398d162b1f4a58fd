package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/logging"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

const (
	secretFile = "{\n\t\"key\": \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\",\n\t\"salt\": \"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=\"\n}"
	zeroPolicy = `{"measurements": {"4": {"expected": "0000000000000000000000000000000000000000000000000000000000000000", "warnOnly": false}, "15": "0000000000000000000000000000000000000000000000000000000000000000"}}`
)

// terminal keeps what is written and tells the first address that is served.
type terminal struct {
	mu      sync.Mutex
	text    bytes.Buffer
	address chan string
}

func newTerminal() *terminal { return &terminal{address: make(chan string, 1)} }

var started = regexp.MustCompile(`"msg":"Starting JoinService","address":"([^"]+)"`)

func (s *terminal) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if match := started.FindSubmatch(line); match != nil {
		s.address <- string(match[1])
	}
	return s.text.Write(line)
}

func (s *terminal) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// served waits until the service serves, and fails with the reason if it ends before.
func (s *terminal) served(t *testing.T, ended <-chan error) (address string) {
	t.Helper()
	select {
	case address = <-s.address:
	case err := <-ended:
		require.FailNow(t, "the service ended before it served", "%v\n%s", err, s)
	}
	return address
}

// startService runs the service until stop, after which its log is complete.
func startService(t *testing.T, service func(context.Context, io.Writer) error) (address string, screen *terminal, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	screen = newTerminal()
	ended := make(chan error, 1)
	go func() { ended <- service(ctx, screen) }()
	address = screen.served(t, ended)
	stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-ended) })
	t.Cleanup(stop)
	return address, screen, stop
}

// startWith runs the service with these arguments.
func startWith(t *testing.T, args ...string) (address string, screen *terminal, stop func()) {
	t.Helper()
	return startService(t, func(ctx context.Context, stderr io.Writer) error { return run(ctx, args, stderr) })
}

// files makes the files of a cluster in a new directory.
func files(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range map[string]string{
		"secret.json": secretFile,
		"salt":        strings.Repeat("s", 32),
		"policy.json": zeroPolicy,
		"short":       "short",
		// good JSON, but weaker than a policy may be
		"running.json": `{"measurements": {"4": "` + strings.Repeat("0", 64) + `"}}`,
		"other.json":   `{"measurements": {"4": "` + strings.Repeat("0", 64) + `", "12": "` + strings.Repeat("0", 64) + `"}}`,
		"anyboot.json": `{"measurements": {"15": "` + strings.Repeat("0", 64) + `"}}`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

// good are arguments with which the service starts, on a free port.
func good(dir string) []string {
	return []string{"--listen", "127.0.0.1:0", "--master-secret", dir + "/secret.json", "--measurement-salt", dir + "/salt", "--policy", dir + "/policy.json"}
}

func TestStartAndStop(t *testing.T) {
	_, screen, stop := startWith(t, good(files(t))...)
	stop()

	lines := strings.Split(strings.TrimSpace(screen.String()), "\n")
	require.Len(t, lines, 3)
	stamp := `"ts":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","logger":"joinService","caller":"joinservice/run.go:\d+"`
	assert.Regexp(t, `^\{"level":"INFO",`+stamp+`,"msg":"Nodes are judged by this attestation policy","file":".*/policy.json","variant":"qemu-vtpm","unenforced":\[0,1,2,3,5,6,7,8,9,10,11,12,13,14\],"weaknesses":\["any attestation key is accepted: on qemu-vtpm [^"]+","any boot that nobody measured is accepted: [^"]+"\]\}$`, lines[0])
	assert.Regexp(t, `^\{"level":"INFO",`+stamp+`,"msg":"Starting JoinService","address":"127\.0\.0\.1:\d+"\}$`, lines[1])
	assert.Regexp(t, `^\{"level":"INFO",`+stamp+`,"msg":"JoinService stopped"\}$`, lines[2])
	assert.NotContains(t, screen.String(), "AAECAwQF")
}

func TestDoesNotStart(t *testing.T) {
	for name, tt := range map[string]struct {
		change []string // a flag and its value
		want   string
	}{
		"no master secret":  {[]string{"--master-secret", "DIR/nowhere"}, "master secret: open DIR/nowhere"},
		"bad master secret": {[]string{"--master-secret", "DIR/policy.json"}, "master secret DIR/policy.json: "},
		"no salt":           {[]string{"--measurement-salt", "DIR/nowhere"}, "--create-measurement-salt makes it"},
		"short salt":        {[]string{"--measurement-salt", "DIR/short"}, "DIR/short: measurement salt: wrong length: 5 bytes, want 32"},
		"salt no file":      {[]string{"--measurement-salt", "DIR"}, "measurement salt: read DIR"},
		"no policy":         {[]string{"--policy", "DIR/nowhere"}, "attestation policy: open DIR/nowhere"},
		"bad policy":        {[]string{"--policy", "DIR/secret.json"}, "attestation policy DIR/secret.json: "},
		"any running node":  {[]string{"--policy", "DIR/running.json"}, "attestation policy DIR/running.json: bad attestation policy: nothing is expected of the cluster-ID PCR 15"},
		"other profile":     {[]string{"--policy", "DIR/other.json"}, "nothing is expected of the cluster-ID PCR 15"},
		"any boot":          {[]string{"--policy", "DIR/anyboot.json"}, "attestation policy DIR/anyboot.json: bad attestation policy: PCR 4, what the firmware started, is not expected"},
		"no such address":   {[]string{"--listen", "192.0.2.1:1"}, "listening for nodes: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t)
			err := run(t.Context(), changed(dir, tt.change[0], strings.ReplaceAll(tt.change[1], "DIR", dir)), newTerminal())
			require.Error(t, err)
			assert.Contains(t, strings.ReplaceAll(err.Error(), dir, "DIR"), tt.want)
			assert.NotContains(t, err.Error(), "AAECAwQF")
			assert.NoFileExists(t, filepath.Join(dir, "nowhere"))
		})
	}
}

// TestWeakerPolicyIsNotTaken: a policy that lets running nodes in is refused while the
// service runs, before any node comes.
func TestWeakerPolicyIsNotTaken(t *testing.T) {
	dir := files(t)
	_, screen, _ := startWith(t, good(dir)...)
	weak, err := os.ReadFile(filepath.Join(dir, "running.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.json"), weak, 0o600))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, screen.String(), `"msg":"Failed to reload attestation policy, the last good one stays in force"`)
	}, time.Minute, 50*time.Millisecond)
	assert.Contains(t, screen.String(), "nothing is expected of the cluster-ID PCR 15")
}

func TestUsage(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		err  error
		want string // on the terminal
	}{
		"help":            {[]string{"--help"}, flag.ErrHelp, "Usage:\n  joinservice --policy FILE"},
		"nothing":         {nil, errUsage, "missing flag --measurement-salt FILE\nmissing flag --policy FILE\n"},
		"unknown flag":    {[]string{"--accept-any"}, errUsage, "flag provided but not defined: -accept-any"},
		"unknown release": {append(good("x"), "--compat", "3"), errUsage, `unknown compatibility profile "3", want one of: 2.24, 2.1`},
		"argument":        {append(good("x"), "x"), errUsage, `unexpected argument "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			screen := newTerminal()
			require.ErrorIs(t, run(t.Context(), tt.args, screen), tt.err)
			assert.Contains(t, screen.String(), tt.want)
		})
	}
}

func TestSaltIsCreatedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	opts := options{salt: path, createSalt: true}
	var screen bytes.Buffer
	first, err := measurementSalt(opts, logging.New(&screen, 0))
	require.NoError(t, err)
	assert.Contains(t, screen.String(), `"msg":"Creating measurement salt","file":"`+path+`"`)

	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, first.Bytes(), raw)
	assert.NotEqual(t, make([]byte, keys.Size), raw)

	second, err := measurementSalt(opts, zap.NewNop())
	require.NoError(t, err)
	assert.Equal(t, first.Bytes(), second.Bytes())
}
