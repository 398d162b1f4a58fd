package joinservice

import (
	"time"

	"disk-mapper/internal/fairlistener"
)

// What strangers on the network may take of the service, beside what fairlistener bounds
// for all servers. A node makes one small call and leaves.
const (
	// MaxMemory is what a program that serves nodes should set as its memory limit, in
	// bytes: garbage is collected earlier then, while strangers send large certificates.
	MaxMemory = 80 << 20

	maxConns        = 512     // bounds descriptors (1 each) and memory (some 0.1 MiB each)
	maxConnsPerPeer = 256     // of one network that has attested nothing: behind a load balancer, all nodes have one address
	maxWaiting      = 128     // for an answer, for a quote, or to send a large certificate: after a power cut all nodes come at once
	buffer          = 4 << 10 // for reading and for writing, of one connection
	maxRequest      = 16 << 10

	drainTime = 2 * time.Second // for calls to end when the service stops
)

var connections = fairlistener.Limits{Conns: maxConns, PerNetwork: maxConnsPerPeer, Waiting: maxWaiting}
