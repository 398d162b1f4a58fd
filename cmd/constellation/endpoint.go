package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"

	"disk-mapper/internal/printable"

	"go.yaml.in/yaml/v3"
)

const (
	recoveryPort = "9999"

	// Files that know the address of a cluster: the second was replaced by the
	// first in the course of the releases.
	stateFile     = "constellation-state.yaml"
	clusterIDFile = "constellation-id.json"
)

var errNoEndpoint = errors.New("no endpoint: give one with --endpoint HOST[:PORT], or the workspace that has " + stateFile + " or " + clusterIDFile)

// endpoint returns HOST:PORT from the flag or, if that is empty, from the
// files of the workspace.
func (w workspace) endpoint(flag string) (string, error) {
	if flag != "" {
		return parseEndpoint(flag)
	}
	host, err := w.clusterAddress()
	if err != nil {
		return "", err
	}
	return parseEndpoint(host)
}

func (w workspace) clusterAddress() (string, error) {
	var state struct {
		Infrastructure struct {
			ClusterEndpoint string `yaml:"clusterEndpoint"`
		} `yaml:"infrastructure"`
	}
	var id struct {
		IP string `json:"ip"`
	}
	stateErr := w.read(stateFile, yaml.Unmarshal, &state)
	idErr := w.read(clusterIDFile, json.Unmarshal, &id)
	for _, err := range []error{stateErr, idErr} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if state.Infrastructure.ClusterEndpoint != "" {
		return state.Infrastructure.ClusterEndpoint, nil
	}
	if id.IP != "" {
		return id.IP, nil
	}
	return "", errNoEndpoint
}

func (w workspace) read(file string, unmarshal func([]byte, any) error, into any) error {
	raw, err := os.ReadFile(w.path(file))
	if err != nil {
		return printable.Error(err)
	}
	if err := unmarshal(raw, into); err != nil {
		return fmt.Errorf("reading %s: %w", printable.Text(w.path(file)), printable.Error(err))
	}
	return nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$`)

// parseEndpoint accepts a host name or IP address, with or without port.
func parseEndpoint(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil { // no port, or an IPv6 address without brackets
		host, port = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), recoveryPort
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if net.ParseIP(host) == nil && !hostName.MatchString(host) || err != nil || number == 0 {
		return "", fmt.Errorf("endpoint %s: want HOST or HOST:PORT", printable.Quote(text))
	}
	return net.JoinHostPort(host, port), nil
}
