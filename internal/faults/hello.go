package faults

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
)

// Hellos are ways to begin with TLS and fall silent, by how much is said.
var Hellos = []Silence{
	{"0 bytes", say(func() []byte { return nil })},
	{"1 byte", say(func() []byte { return hello()[:1] })},
	{"100 bytes", say(func() []byte { return hello()[:100] })},
	{"a whole ClientHello", say(hello)},
}

func say(what func() []byte) func(Target, net.Conn) error {
	return func(_ Target, conn net.Conn) error {
		_, err := conn.Write(what())
		return err
	}
}

// hello is a ClientHello as of a client of attested TLS.
var hello = sync.OnceValue(func() []byte {
	var said recorder
	_ = tls.Client(&said, &tls.Config{
		InsecureSkipVerify: true, ServerName: strings.Repeat("A", 43) + "=", NextProtos: []string{"h2"},
	}).Handshake() // nobody answers
	return said.Bytes()
})

// recorder is a connection to nobody.
type recorder struct {
	net.Conn
	bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) { return r.Buffer.Write(p) }
func (r *recorder) Read([]byte) (int, error)    { return 0, io.EOF }
func (r *recorder) Close() error                { return nil }
