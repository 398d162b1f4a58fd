// Package nbd serves a disk that a test has made up, so that QEMU can attach it. The protocol is the Network Block Device's, as in
// the NetworkBlockDevice project's doc/proto.md: fixed newstyle handshake, simple replies.
//
// It is for tests on one machine: it trusts its clients, and whoever can reach the port has the disk.
package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Disk answers requests, several at a time. An error becomes EIO at the client; a call that does not return holds up nothing else.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	Size() int64
}

const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicReply   = 0x3e889045565a9
	magicRequest = 0x25609513
	magicSimple  = 0x67446698

	handshakeFlags    = 1<<0 | 1<<1 // fixed newstyle, no zeroes
	transmissionFlags = 1<<0 | 1<<2 // has flags, flush

	optionExportName = 1
	optionAbort      = 2
	optionGo         = 7

	replyAck         = 1
	replyInfo        = 3
	replyUnsupported = 1<<31 + 1
	infoExport       = 0

	requestRead  = 0
	requestWrite = 1
	requestDisc  = 2
	requestFlush = 3

	errorIO      = 5
	errorInvalid = 22

	maxOption  = 4096
	maxRequest = 32 << 20
)

// Serve answers whoever connects until ctx ends, whatever export it names. It closes the listener.
func Serve(ctx context.Context, listener net.Listener, disk Disk) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("waiting for a client: %w", err)
		}
		clients.Go(func() { serveClient(ctx, conn, disk) })
	}
}

func serveClient(ctx context.Context, conn net.Conn, disk Disk) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	if err := handshake(conn, disk.Size()); err != nil {
		return // a client that does not speak the protocol finds out
	}
	(&transmission{conn: conn, disk: disk}).run()
}

type serverHello struct {
	Server, Option uint64
	Flags          uint16
}

type optionHeader struct {
	Magic          uint64
	Option, Length uint32
}

type optionReply struct {
	Magic                uint64
	Option, Type, Length uint32
}

type export struct {
	Size  uint64
	Flags uint16
}

var errAborted = errors.New("the client gave up")

func handshake(conn io.ReadWriter, size int64) error {
	if err := send(conn, serverHello{magicServer, magicOption, handshakeFlags}); err != nil {
		return err
	}
	var clientFlags uint32
	if err := receive(conn, &clientFlags); err != nil {
		return err
	}
	for done := false; !done; {
		var o optionHeader
		if err := receive(conn, &o); err != nil {
			return err
		}
		if o.Magic != magicOption || o.Length > maxOption {
			return errors.New("no option")
		}
		if _, err := io.CopyN(io.Discard, conn, int64(o.Length)); err != nil { // names an export: there is one
			return err
		}
		var err error
		if done, err = answer(conn, o.Option, export{uint64(size), transmissionFlags}); err != nil {
			return err
		}
	}
	return nil
}

// answer reports whether the handshake is over.
func answer(conn io.Writer, option uint32, e export) (done bool, err error) {
	switch option {
	case optionExportName:
		return true, send(conn, e)
	case optionGo:
		return true, send(conn, optionReply{magicReply, option, replyInfo, 12}, uint16(infoExport), e, optionReply{magicReply, option, replyAck, 0})
	case optionAbort:
		return true, errors.Join(errAborted, send(conn, optionReply{magicReply, option, replyAck, 0}))
	default:
		return false, send(conn, optionReply{magicReply, option, replyUnsupported, 0})
	}
}

func send(w io.Writer, parts ...any) error {
	var raw []byte
	for _, part := range parts {
		var err error
		if raw, err = binary.Append(raw, binary.BigEndian, part); err != nil {
			return err
		}
	}
	_, err := w.Write(raw)
	return err
}

func receive(r io.Reader, into any) error { return binary.Read(r, binary.BigEndian, into) }

type request struct {
	Magic       uint32
	Flags, Type uint16
	Cookie      uint64
	Offset      uint64
	Length      uint32
}

type simpleReply struct {
	Magic, Error uint32
	Cookie       uint64
}

// transmission is the second phase of a connection.
type transmission struct {
	conn net.Conn
	disk Disk
	mu   sync.Mutex // one reply at a time
}

func (t *transmission) run() {
	for {
		var r request
		if err := receive(t.conn, &r); err != nil || r.Magic != magicRequest || r.Type == requestDisc || r.Length > maxRequest {
			return
		}
		content := make([]byte, r.Length)
		if r.Type == requestWrite {
			if _, err := io.ReadFull(t.conn, content); err != nil {
				return
			}
		}
		go t.serve(r, content) // in a disk that does not answer it stays, to the end of the process at the latest
	}
}

func (t *transmission) serve(r request, content []byte) {
	var err error
	code := uint32(errorIO)
	switch r.Type {
	case requestRead:
		_, err = t.disk.ReadAt(content, int64(r.Offset))
	case requestWrite:
		_, err = t.disk.WriteAt(content, int64(r.Offset))
	case requestFlush: // nothing is kept back
	default:
		err, code = errors.ErrUnsupported, errorInvalid
	}
	if err == nil {
		code = 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	reply := []any{simpleReply{magicSimple, code, r.Cookie}}
	if r.Type == requestRead && err == nil {
		reply = append(reply, content)
	}
	_ = send(t.conn, reply...) // a client that has gone needs no answer
}
