package rejoinclient

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// nameServer makes every name one of these addresses, for the time of the test.
func nameServer(t *testing.T, addresses ...[4]byte) {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		query := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(query)
			if err != nil {
				return
			}
			if answer := answerTo(query[:n], addresses); answer != nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	}()
	system := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = system; _ = socket.Close() })
}

func answerTo(query []byte, addresses [][4]byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) == 0 {
		return nil
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	for _, address := range addresses {
		if m.Questions[0].Type == dnsmessage.TypeA {
			header := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 1}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address}})
		}
	}
	answer, _ := m.Pack()
	return answer
}

// TestNameWithADeadAddress: the first address swallows SYNs, the second is the
// JoinService, and the limits are those of production.
func TestNameWithADeadAddress(t *testing.T) {
	port := portOf(t, blackHoleOn(t, [4]byte{127, 0, 0, 1}))
	joinService{rejoin: ticket(goodKey, goodSecret)}.startOn(t, "127.0.0.5:"+port)
	nameServer(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 5})
	var disk stateDisk
	r := offer(t, static{"joinservice.example.org.:" + port}, disk.prove)
	r.mustEnd(t)
	disk.assertWon(t)
	require.Empty(t, r.errorsOf("joinservice.example.org.:"+port), "at the first attempt")
}
