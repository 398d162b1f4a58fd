package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
	"disk-mapper/internal/sshproof"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc/credentials"
)

// identity proves to nodes that the caller has an operator's SSH key. Each call
// has a proof of its own, for the TLS session that it goes over; and each connection
// has one in its ClientHello, so that the operator does not wait behind strangers.
type identity struct{ key ssh.Signer }

// readIdentity reads a private key. If the file is encrypted, or a public key,
// the SSH agent at socket has to have the private one. A private key that others can
// read is noted, encrypted or not.
func readIdentity(path, socket string, notes io.Writer) (identity, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return identity{}, fmt.Errorf("identity: %w", printable.Error(err))
	}
	defer clear(raw)
	if _, _, _, _, err := ssh.ParseAuthorizedKey(raw); err != nil { // no public key
		warnOfExposed(keys.CheckPrivate(path), notes)
	}
	key, err := signer(raw, socket)
	if err != nil {
		return identity{}, fmt.Errorf("identity %s: %w", printable.Text(path), printable.Error(err))
	}
	return identity{key}, nil
}

func signer(raw []byte, socket string) (ssh.Signer, error) {
	if public, _, _, _, err := ssh.ParseAuthorizedKey(raw); err == nil {
		return fromAgent(public, socket)
	}
	key, err := ssh.ParsePrivateKey(raw)
	if locked, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		if locked.PublicKey == nil { // old formats do not tell
			return nil, errors.New("the key is encrypted: add it to your SSH agent (ssh-add) and name the file with the public key here")
		}
		return fromAgent(locked.PublicKey, socket)
	}
	if err != nil {
		return nil, fmt.Errorf("neither a private nor a public SSH key: %w", err)
	}
	return key, sshproof.Usable(key.PublicKey())
}

// fromAgent leaves the connection to the agent open: the process is short-lived.
func fromAgent(public ssh.PublicKey, socket string) (ssh.Signer, error) {
	if err := sshproof.Usable(public); err != nil {
		return nil, err
	}
	if socket == "" {
		return nil, errors.New("the private key is needed from an SSH agent, but SSH_AUTH_SOCK is not set: start one and add the key (ssh-add)")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("asking the SSH agent: %w", err)
	}
	has, err := agent.NewClient(conn).Signers()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("asking the SSH agent: %w", err), conn.Close())
	}
	for _, key := range has {
		if bytes.Equal(key.PublicKey().Marshal(), public.Marshal()) {
			return key, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("the SSH agent does not have the key %s: add it (ssh-add)", ssh.FingerprintSHA256(public)), conn.Close())
}

// GetRequestMetadata is called once per call, when its connection is up.
func (i identity) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	request, _ := credentials.RequestInfoFromContext(ctx)
	session, ok := request.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, errors.New("the connection has no TLS session to prove a key for")
	}
	proof, err := sshproof.Prove(session.State, i.key)
	if err != nil {
		return nil, err
	}
	return map[string]string{sshproof.Header: string(proof)}, nil
}

// introduce is for a ClientHello. Nodes that do not know it ignore it.
func (i identity) introduce(serverName string) ([]string, error) {
	return sshproof.ProveHello(serverName, i.key)
}

// RequireTransportSecurity keeps a proof from going over anything but TLS.
func (identity) RequireTransportSecurity() bool { return true }
