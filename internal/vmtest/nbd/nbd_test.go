package nbd

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// moody is a disk of 8 KiB: it reads back what was written, fails at 4096, and does
// not answer at 6144 before it is let go.
type moody struct {
	content []byte
	letGo   chan struct{}
}

func (m *moody) Size() int64 { return int64(len(m.content)) }

func (m *moody) ReadAt(p []byte, offset int64) (int, error) {
	switch offset {
	case 4096:
		return 0, errors.New("bad sector")
	case 6144:
		<-m.letGo
	}
	return copy(p, m.content[offset:]), nil
}

func (m *moody) WriteAt(p []byte, offset int64) (int, error) { return copy(m.content[offset:], p), nil }

// client connects and takes the export by the given option.
func client(t *testing.T, disk Disk, option uint32) net.Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- Serve(t.Context(), listener, disk) }()
	t.Cleanup(func() { assert.NoError(t, <-served) })
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })

	var hello serverHello
	require.NoError(t, receive(conn, &hello))
	require.Equal(t, serverHello{magicServer, magicOption, 3}, hello)
	const unknown = 8 // structured replies
	require.NoError(t, send(conn, uint32(3), optionHeader{magicOption, unknown, 0}))
	var reply optionReply
	require.NoError(t, receive(conn, &reply))
	require.Equal(t, optionReply{magicReply, unknown, replyUnsupported, 0}, reply)

	payload := []byte("export")
	if option == optionGo {
		payload = []byte("\x00\x00\x00\x06export\x00\x00")
	}
	require.NoError(t, send(conn, optionHeader{magicOption, option, uint32(len(payload))}, payload))
	if option == optionGo {
		require.NoError(t, receive(conn, &reply))
		require.Equal(t, optionReply{magicReply, option, replyInfo, 12}, reply)
		_, err = io.CopyN(io.Discard, conn, 2)
		require.NoError(t, err)
	}
	var e export
	require.NoError(t, receive(conn, &e))
	require.Equal(t, export{uint64(disk.Size()), 5}, e)
	if option == optionGo {
		require.NoError(t, receive(conn, &reply))
		require.Equal(t, optionReply{magicReply, option, replyAck, 0}, reply)
	}
	return conn
}

func ask(t *testing.T, conn net.Conn, kind uint16, cookie, offset uint64, length int, content string) {
	t.Helper()
	require.NoError(t, send(conn, request{magicRequest, 0, kind, cookie, offset, uint32(length)}, []byte(content)))
}

func expect(t *testing.T, conn net.Conn, cookie uint64, code uint32, content string) {
	t.Helper()
	var reply simpleReply
	require.NoError(t, receive(conn, &reply))
	require.Equal(t, simpleReply{magicSimple, code, cookie}, reply)
	got := make([]byte, len(content))
	_, err := io.ReadFull(conn, got)
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
}

func TestServe(t *testing.T) {
	for name, option := range map[string]uint32{"go": optionGo, "export name": optionExportName} {
		t.Run(name, func(t *testing.T) {
			disk := &moody{content: make([]byte, 8192), letGo: make(chan struct{})}
			conn := client(t, disk, option)
			ask(t, conn, requestWrite, 1, 512, 5, "hello")
			expect(t, conn, 1, 0, "")
			ask(t, conn, requestFlush, 2, 0, 0, "")
			expect(t, conn, 2, 0, "")
			ask(t, conn, requestRead, 3, 6144, 4, "")
			ask(t, conn, requestRead, 4, 512, 5, "")
			expect(t, conn, 4, 0, "hello")
			ask(t, conn, requestRead, 5, 4096, 512, "")
			expect(t, conn, 5, errorIO, "")
			ask(t, conn, 7, 6, 0, 0, "")
			expect(t, conn, 6, errorInvalid, "")
			close(disk.letGo)
			expect(t, conn, 3, 0, "\x00\x00\x00\x00")
			ask(t, conn, requestDisc, 7, 0, 0, "")
			_, err := conn.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
		})
	}
}
