package recoveryserver

import (
	"time"

	"disk-mapper/internal/fairlistener"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// What strangers on the network may take of this node. The library's defaults
// are made for trusted peers: no limit on streams, connections and their age.
const (
	maxMessage      = 16 << 10 // the longest legitimate message is a KMS URI of some hundred bytes
	maxHeaders      = 8 << 10  // an operator's proof with the largest RSA key is half of it
	maxStreams      = 4        // per connection; a client needs one
	maxConns        = 256      // bounds descriptors (1 each) and memory (some 0.1 MiB each)
	maxConnsPerPeer = 192      // of one network: operators behind one address have time to prove themselves
	maxWaiting      = 16       // for a quote, an answer to a ClientHello, or a proof: more would wait for longer than a client does
	maxRemembered   = 1024     // networks that have to pause; some 50 bytes each

	maxIdle     = 10 * time.Second // without a call
	maxAge      = time.Minute      // a recovery takes seconds
	ageGrace    = 5 * time.Second
	pingAfter   = 10 * time.Second // of silence, to find dead peers
	pingTimeout = 5 * time.Second

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

func limits() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     maxIdle,
			MaxConnectionAge:      maxAge,
			MaxConnectionAgeGrace: ageGrace,
			Time:                  pingAfter,
			Timeout:               pingTimeout,
		}),
	}
}
