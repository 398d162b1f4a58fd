package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// JoinServicePort is where every control-plane node and the load balancer
	// offer the JoinService. A port that a platform names is not used.
	JoinServicePort = "30090"
	// MaxEndpoints is how many endpoints are kept of one answer: more than any
	// control plane has, few enough to be asked in about a minute.
	MaxEndpoints = 256

	lookupTimeout = 15 * time.Second // for a provider whose calls add up
)

// PeerEndpoints finds the JoinServices of the cluster through a platform's
// metadata.
type PeerEndpoints struct{ metadata Metadata }

// Peers finds JoinServices through metadata.
func Peers(metadata Metadata) *PeerEndpoints { return &PeerEndpoints{metadata} }

// JoinEndpoints returns HOST:30090 of the load balancer, then of every other
// control-plane node. What cannot be used is left out. It fails only if
// nothing is left; the error then says why for each part.
func (p *PeerEndpoints) JoinEndpoints(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	// The three lookups wait for the network: together, not one after the other.
	self := begin(ctx, p.metadata.Self)
	nodes := begin(ctx, p.metadata.Nodes)
	balancer := begin(ctx, p.metadata.LoadBalancer)
	return joinEndpoints(<-self, <-nodes, <-balancer)
}

// answer is what one lookup returned.
type answer[T any] struct {
	value T
	err   error
}

// begin runs lookup beside its caller, who receives the one answer.
func begin[T any](ctx context.Context, lookup func(context.Context) (T, error)) <-chan answer[T] {
	done := make(chan answer[T], 1)
	go func() {
		value, err := lookup(ctx)
		done <- answer[T]{value, err}
	}()
	return done
}

// joinEndpoints holds the rules of JoinEndpoints. Not to know oneself is no
// reason to ask nobody: the own address then costs one refused connection.
func joinEndpoints(self answer[Instance], nodes answer[[]Instance], balancer answer[string]) ([]string, error) {
	var list endpointList
	list.own, _ = parseAddress(self.value.VPCIP)

	host, err := balancerHost(balancer)
	list.add("load balancer", host, err)
	if nodes.err != nil {
		list.fail("nodes", nodes.err)
	}
	for _, node := range nodes.value {
		if node.Role == ControlPlane {
			addr, err := parseAddress(node.VPCIP)
			list.add(fmt.Sprintf("node %.64q", node.Name), addr.String(), err)
		}
	}
	if len(list.endpoints) == 0 {
		return nil, fmt.Errorf("finding JoinService endpoints: %w", list.fault())
	}
	return list.endpoints, nil
}

func balancerHost(balancer answer[string]) (string, error) {
	if balancer.err != nil {
		return "", balancer.err
	}
	return parseHost(balancer.value)
}

// endpointList is bounded in all its parts: what it is made of is the
// adversary's choice.
type endpointList struct {
	own       netip.Addr
	endpoints []string
	faults    []error
}

const maxFaults = 4

// add takes a host that parseHost or parseAddress has passed, or their error.
func (l *endpointList) add(from, host string, err error) {
	if err != nil {
		l.fail(from, err)
		return
	}
	own := l.own.IsValid() && host == l.own.String()
	endpoint := net.JoinHostPort(host, JoinServicePort)
	if own || len(l.endpoints) == MaxEndpoints || slices.Contains(l.endpoints, endpoint) {
		return
	}
	l.endpoints = append(l.endpoints, endpoint)
}

func (l *endpointList) fail(from string, err error) {
	if len(l.faults) < maxFaults {
		l.faults = append(l.faults, fmt.Errorf("%s: %w", from, err))
	}
}

// fault says why the list is empty.
func (l *endpointList) fault() error {
	if len(l.faults) == 0 {
		return errors.New("the platform knows no other control-plane node")
	}
	return errors.Join(l.faults...)
}
