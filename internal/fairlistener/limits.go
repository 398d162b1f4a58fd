package fairlistener

import (
	"time"

	"disk-mapper/attestation"
)

// What a stranger may take of a server before it has proven anything.
const (
	maxRemembered = 3 << 10 // networks of all sizes that have passed a queue; some 50 bytes each
	// smallHandshake is how many bytes of a handshake are read from everybody. For
	// more, such as most attestation documents, a peer waits for its turn.
	smallHandshake = 8 << 10
	// maxHandshake is the longest handshake that is read, in bytes: the largest
	// document, its certificate and the ClientHello.
	maxHandshake  = attestation.MaxDocument + 32<<10
	maxLarge      = 4       // handshakes beyond smallHandshake at a time; each takes some 5 MiB at worst
	maxLargeOfOne = 2       // of them, of one network: another one's need not wait for them
	maxAnswers    = 1       // ClientHellos answered at a time: a key, a certificate and a signature each, on one core
	maxAhead      = 4 << 10 // bytes that are read ahead of a peer that is judged: the end of its handshake
	maxEarly      = 64      // bytes of a peer that speaks before we have answered its ClientHello

	helloTime       = 2 * time.Second  // from the connection to the end of the ClientHello: its first byte and its last
	turnTime        = 10 * time.Second // waiting for our certificate, for a quote, or to send a large certificate: then the connection is of no use
	certificateTime = 8 * time.Second  // from our certificate to the end of the handshake: the peer's TPM makes a quote
	largeTime       = 2 * time.Second  // for the rest of a large handshake, once it is its turn
	prefaceTime     = 2 * time.Second  // from the handshake to the first words of HTTP/2

	// MaxStreams is how many calls a connection may have at a time; a client needs one.
	MaxStreams = 4
	// MaxHeaders is how many bytes the headers of a call may have: an operator's proof
	// with the largest RSA key is half of it.
	MaxHeaders  = 8 << 10
	maxIdle     = 10 * time.Second // without a call
	maxAge      = time.Minute      // of a connection; what clients come for takes seconds
	ageGrace    = 5 * time.Second  // for calls to end after that
	pingAfter   = 10 * time.Second // of silence, to find dead peers
	pingTimeout = 5 * time.Second

	lineInterval  = 30 * time.Second // a serial console is slow:
	maxLines      = 24               // about strangers, whatever they say, in this time
	maxLinesOfOne = 9                // of them, about one network: another one's own lines are not hidden by its flood
)

// Limits are those that differ between servers.
type Limits struct {
	Conns      int // open at a time: descriptors (1 each) and memory (some 0.1 MiB each)
	PerNetwork int // of them, of one network that has proven nothing
	Waiting    int // for our certificate, for one quote, or for one turn to send a large certificate
}
