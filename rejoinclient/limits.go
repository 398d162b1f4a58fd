package rejoinclient

import (
	"time"

	"disk-mapper/attestation"
)

// What endpoints, which anybody may be behind, can take of this node.
const (
	// maxTalking is how many attempts attest this node, or have just done so, at a
	// time: each costs a quote, and the TPM makes one after the other.
	maxTalking = 8
	// maxEndpoints bounds what is kept of all lists together, and with it the open
	// connections: one to an endpoint, and some more while a name's addresses are tried.
	maxEndpoints    = 256
	maxRejoinTicket = 16 << 10 // two keys of 32 bytes, with room
	maxJoinTicket   = 1 << 20  // certificates and the list of Kubernetes components
	maxHeaders      = 8 << 10
	buffer          = 4 << 10 // for reading and for writing, of one connection
	// maxHandshake is what a peer may send on one connection until TLS is there: its
	// certificate with a document, and its certificate authorities.
	maxHandshake = attestation.MaxDocument + 64<<10
	// maxTalk is what it may send after that, besides the ticket. Each frame costs
	// work, so it is little.
	maxTalk = 16 << 10

	// lineBurst and lineEvery bound the lines of the log, byteBurst and bytesPerSecond
	// their bytes: endpoints and what they answer are anybody's, and a serial console
	// takes some ten milliseconds for each line.
	lineBurst      = 48
	lineEvery      = 3 * time.Second
	byteBurst      = 24 << 10
	bytesPerSecond = 192
	// What is kept of lineBurst, and of byteBurst in proportion, for lines that tell more.
	keptForFailures = 32 // so that those about whom is asked leave room
	keptForLists    = 16
	keptForRounds   = 8
	// maxListed and maxListedText bound the endpoints in one line of the log, and the
	// bytes of their names.
	maxListed     = 64
	maxListedText = 2 << 10
)

// times are the durations that tests shorten.
type times struct {
	settle  time.Duration // for the other sources, once the first one has answered
	resolve time.Duration // to find the addresses of a name
	connect time.Duration // to reach one address by TCP
	// answer is for what a peer has to do: to begin TLS and ask for the attestation of
	// this node, and again, once it has that, to answer the call. It stands still while
	// this node waits for its own turn and its own TPM.
	answer  time.Duration
	stagger time.Duration // between two attestations, unless the first fails
	// inLine is how long an attempt waits for its turn on one connection: servers hang
	// up on a handshake that takes longer. It then connects anew, and keeps its place.
	inLine time.Duration
	// quiet is how long a peer may be silent and still count as talking. Its
	// attempt goes on after that, but others get their turn.
	quiet           time.Duration
	pause, maxPause time.Duration // before the next attempt, first and longest
}

// With these, 200 endpoints that accept connections and say nothing hold up a
// good one by a second, and one lost packet is still forgiven.
var production = times{
	settle:   50 * time.Millisecond,
	resolve:  5 * time.Second,
	connect:  2 * time.Second,
	answer:   10 * time.Second,
	stagger:  5 * time.Millisecond,
	inLine:   3 * time.Second,
	quiet:    40 * time.Millisecond,
	pause:    2 * time.Second,
	maxPause: 30 * time.Second,
}
