package rejoinclient

import "time"

// What an endpoint, which anybody may be behind, can take of this node.
const (
	maxInFlight     = 8        // endpoints asked at a time
	maxRejoinTicket = 16 << 10 // two keys of 32 bytes, with room
	maxJoinTicket   = 1 << 20  // certificates and the list of Kubernetes components
	maxHeaders      = 8 << 10
	maxLogged       = 512 // of an error text that the peer may have written
)

// times are the durations that tests shorten.
type times struct {
	connect         time.Duration // to reach an endpoint by TCP
	answer          time.Duration // for all of one call
	pause, maxPause time.Duration // between rounds, first and longest
}

// With connect at two seconds, a good endpoint behind 200 dead ones is reached
// within a minute, and one lost packet is still forgiven.
var production = times{
	connect:  2 * time.Second,
	answer:   10 * time.Second,
	pause:    2 * time.Second,
	maxPause: 30 * time.Second,
}
