package rejoinclient

import "time"

// What endpoints, which anybody may be behind, can take of this node.
const (
	// maxTalking is how many attempts attest this node, or have just done so, at a
	// time: each costs a quote, and the TPM makes one after the other.
	maxTalking = 8
	// maxEndpoints bounds what is kept of all lists together, and with it the open
	// connections: one to an endpoint.
	maxEndpoints    = 256
	maxRejoinTicket = 16 << 10 // two keys of 32 bytes, with room
	maxJoinTicket   = 1 << 20  // certificates and the list of Kubernetes components
	maxHeaders      = 8 << 10
	buffer          = 4 << 10 // for reading and for writing, of one connection
	maxLogged       = 512     // of an error text that the peer may have written
	// maxLines bounds the lines about single endpoints between two summaries: a
	// serial console takes some ten milliseconds for each.
	maxLines = 32
	// maxListed bounds the endpoints in one line of the log.
	maxListed = 64
)

// times are the durations that tests shorten.
type times struct {
	settle  time.Duration // for the other sources, once the first one has answered
	connect time.Duration // to reach an endpoint by TCP
	answer  time.Duration // for all of one call
	stagger time.Duration // between two attestations, unless the first fails
	// quiet is how long a peer may be silent and still count as talking. Its
	// attempt goes on after that, but others get their turn.
	quiet           time.Duration
	pause, maxPause time.Duration // before the next attempt, first and longest
}

// With these, 200 endpoints that accept connections and say nothing hold up a
// good one by a second, and one lost packet is still forgiven.
var production = times{
	settle:   50 * time.Millisecond,
	connect:  2 * time.Second,
	answer:   10 * time.Second,
	stagger:  5 * time.Millisecond,
	quiet:    40 * time.Millisecond,
	pause:    2 * time.Second,
	maxPause: 30 * time.Second,
}
