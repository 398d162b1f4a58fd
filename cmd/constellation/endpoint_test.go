package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// workspaceWith makes a workspace of these files.
func workspaceWith(t *testing.T, files map[string]string) workspace {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return workspace{dir: dir}
}

const (
	stateOf224 = "version: v1\ninfrastructure:\n  uid: abcd\n  clusterEndpoint: 192.0.2.224\n  inClusterEndpoint: 10.9.0.1\nclusterValues:\n  clusterID: \"00\"\n"
	idOf21     = "{\n\t\"clusterID\": \"AAEC\",\n\t\"ownerID\": \"AAEC\",\n\t\"ip\": \"192.0.2.21\"\n}"
)

func TestEndpoint(t *testing.T) {
	for name, tt := range map[string]struct {
		flag  string
		files map[string]string
		want  string
	}{
		"host":                     {flag: "203.0.113.7", want: "203.0.113.7:9999"},
		"host and port":            {flag: "203.0.113.7:1234", want: "203.0.113.7:1234"},
		"name":                     {flag: "lb.example.com", want: "lb.example.com:9999"},
		"name and port":            {flag: "lb.example.com:80", want: "lb.example.com:80"},
		"IPv6":                     {flag: "2001:db8::1", want: "[2001:db8::1]:9999"},
		"IPv6 in brackets":         {flag: "[2001:db8::1]", want: "[2001:db8::1]:9999"},
		"IPv6 and port":            {flag: "[2001:db8::1]:80", want: "[2001:db8::1]:80"},
		"state file":               {files: map[string]string{stateFile: stateOf224}, want: "192.0.2.224:9999"},
		"ID file":                  {files: map[string]string{clusterIDFile: idOf21}, want: "192.0.2.21:9999"},
		"newer file first":         {files: map[string]string{stateFile: stateOf224, clusterIDFile: idOf21}, want: "192.0.2.224:9999"},
		"state file has no answer": {files: map[string]string{stateFile: "version: v1\n", clusterIDFile: idOf21}, want: "192.0.2.21:9999"},
		"flag before files":        {flag: "203.0.113.7", files: map[string]string{stateFile: stateOf224}, want: "203.0.113.7:9999"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := workspaceWith(t, tt.files).endpoint(tt.flag)
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestEndpointRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		flag  string
		files map[string]string
		want  string
	}{
		"no files":         {want: errNoEndpoint.Error()},
		"files without":    {files: map[string]string{stateFile: "version: v1\n", clusterIDFile: "{}"}, want: errNoEndpoint.Error()},
		"broken state":     {files: map[string]string{stateFile: "\t{", clusterIDFile: idOf21}, want: "reading "},
		"broken ID file":   {files: map[string]string{clusterIDFile: "{"}, want: "reading "},
		"URL":              {flag: "https://lb.example.com", want: "want HOST or HOST:PORT"},
		"path":             {flag: "lb.example.com/x", want: "want HOST or HOST:PORT"},
		"no host":          {flag: ":9999", want: "want HOST or HOST:PORT"},
		"line break":       {flag: "lb\n.example.com", want: "want HOST or HOST:PORT"},
		"port 0":           {flag: "192.0.2.1:0", want: "want HOST or HOST:PORT"},
		"port 65536":       {flag: "192.0.2.1:65536", want: "want HOST or HOST:PORT"},
		"port with a name": {flag: "192.0.2.1:https", want: "want HOST or HOST:PORT"},
		"empty port":       {flag: "192.0.2.1:", want: "want HOST or HOST:PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := workspaceWith(t, tt.files).endpoint(tt.flag)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
