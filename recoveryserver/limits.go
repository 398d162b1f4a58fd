package recoveryserver

import (
	"time"

	"disk-mapper/internal/fairlistener"
)

// What strangers on the network may take of this node, beside what fairlistener bounds
// for all servers.
const (
	maxMessage      = 16 << 10 // the longest legitimate message is a KMS URI of some hundred bytes
	maxConns        = 256      // bounds descriptors (1 each) and memory (some 0.1 MiB each)
	maxConnsPerPeer = 192      // of one network: operators behind one address have time to prove themselves
	maxWaiting      = 16       // for a quote, an answer to a ClientHello, or a proof: more would wait for longer than a client does
	maxRemembered   = 1024     // networks that have to pause; some 50 bytes each

	busyPause = 5 * time.Second // that callers are told to make when too many others wait
)

// times are the durations that tests shorten.
type times struct {
	message         time.Duration // a caller's time for each message
	grace           time.Duration // for calls to end when the server stops
	retry, maxRetry time.Duration // pause before binding the port again, first and longest
	pause, maxPause time.Duration // after a wrong key, first and longest; more would lock out who shares a load balancer
}

var production = times{
	message:  15 * time.Second,
	grace:    time.Second,
	retry:    time.Second,
	maxRetry: 30 * time.Second,
	pause:    time.Second,
	maxPause: 5 * time.Second,
}

var connections = fairlistener.Limits{Conns: maxConns, PerNetwork: maxConnsPerPeer, Waiting: maxWaiting}
