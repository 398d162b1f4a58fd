package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"disk-mapper/internal/printable"
)

const (
	// JoinServicePort is where every control-plane node and the load balancer
	// offer the JoinService. A port that a platform names is not used.
	JoinServicePort = "30090"
	// MaxEndpoints is how many endpoints are kept of one answer: more than any
	// control plane has, few enough to be asked at the same time.
	MaxEndpoints = 256
	// MaxStatic is how many endpoints can be named on the command line.
	MaxStatic = 64

	lookupTimeout = 15 * time.Second // for a provider whose calls add up
	// selfGrace is how long a lookup waits to learn who this node is, beyond what
	// it takes by itself. Not to know costs one refused connection.
	selfGrace = time.Second
)

// Source is one way to find JoinServices. Each fails alone.
type Source struct {
	find func(context.Context) ([]string, error)
}

// JoinEndpoints returns HOST:PORT of JoinServices, as of now. What cannot be used
// is left out. The error says why, and may come with a list.
func (s Source) JoinEndpoints(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	endpoints, err := s.find(ctx)
	if err != nil {
		return endpoints, fmt.Errorf("finding JoinService endpoints: %w", err)
	}
	return endpoints, nil
}

// LoadBalancer finds the JoinService behind the control plane's load balancer. A
// platform without one has no endpoint here, which is no failure.
func LoadBalancer(metadata Metadata) Source {
	return Source{func(ctx context.Context) ([]string, error) {
		self := begin(ctx, metadata.Self)
		host, err := metadata.LoadBalancer(ctx)
		if errors.Is(err, ErrUnsupported) {
			return nil, nil
		}
		if err == nil {
			host, err = parseHost(host)
		}
		list := endpointList{own: ownAddress(self)}
		list.add("load balancer", host, err)
		return list.endpoints, list.fault()
	}}
}

// ControlPlanes finds the JoinServices of the other control-plane nodes. That there
// are none is no failure.
func ControlPlanes(metadata Metadata) Source {
	return Source{func(ctx context.Context) ([]string, error) {
		self := begin(ctx, metadata.Self)
		nodes, err := metadata.Nodes(ctx)
		if err != nil && len(nodes) == 0 {
			return nil, fmt.Errorf("nodes: %w", err)
		}
		list := endpointList{own: ownAddress(self)}
		if err != nil {
			list.add("nodes", "", err)
		}
		for _, node := range nodes {
			if node.Role == ControlPlane {
				addr, err := parseAddress(node.VPCIP)
				list.add(named(node), addr.String(), err)
			}
		}
		return list.endpoints, list.fault()
	}}
}

func named(node Instance) string { return "node " + printable.Quote(node.Name) }

// ParseEndpoints reads HOST[:PORT],... as an operator writes it: literal addresses
// (IPv6 with a port in brackets) or host names. It fails with ErrHost and names
// the word that is wrong.
func ParseEndpoints(words string) (Source, error) {
	var list []string
	for word := range strings.SplitSeq(words, ",") {
		endpoint, err := parseEndpoint(word)
		if err != nil {
			return Source{}, err
		}
		if !slices.Contains(list, endpoint) {
			list = append(list, endpoint)
		}
	}
	if len(list) > MaxStatic {
		return Source{}, fmt.Errorf("%d endpoints, want at most %d: %w", len(list), MaxStatic, ErrHost)
	}
	return Source{func(context.Context) ([]string, error) { return list, nil }}, nil
}

func parseEndpoint(word string) (string, error) {
	host, port := word, JoinServicePort
	if bracketed := strings.HasPrefix(word, "["); bracketed || strings.Count(word, ":") == 1 {
		var err error
		if host, port, err = net.SplitHostPort(word); err != nil {
			return "", fmt.Errorf("%s: %w: want HOST or HOST:PORT", printable.Quote(word), ErrHost)
		}
		if bracketed && !strings.Contains(host, ":") {
			return "", fmt.Errorf("%s: %w: want IPv6 in brackets", printable.Quote(word), ErrHost)
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 || strconv.FormatUint(number, 10) != port {
		return "", fmt.Errorf("%s: %w: want a port from 1 to 65535", printable.Quote(word), ErrHost)
	}
	if host, err = parseHost(host); err != nil {
		return "", err
	}
	return net.JoinHostPort(host, port), nil
}

// answer is what one lookup returned.
type answer[T any] struct {
	value T
	err   error
}

// begin runs lookup beside its caller, who need not wait for the one answer.
func begin[T any](ctx context.Context, lookup func(context.Context) (T, error)) <-chan answer[T] {
	done := make(chan answer[T], 1)
	go func() {
		value, err := lookup(ctx)
		done <- answer[T]{value, err}
	}()
	return done
}

// ownAddress is not valid if it does not become known in time.
func ownAddress(self <-chan answer[Instance]) netip.Addr {
	select {
	case a := <-self:
		own, _ := parseAddress(a.value.VPCIP)
		return own
	case <-time.After(selfGrace):
		return netip.Addr{}
	}
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
		if len(l.faults) < maxFaults {
			l.faults = append(l.faults, fmt.Errorf("%s: %w", from, err))
		}
		return
	}
	own := l.own.IsValid() && host == l.own.String()
	endpoint := net.JoinHostPort(host, JoinServicePort)
	if own || len(l.endpoints) == MaxEndpoints || slices.Contains(l.endpoints, endpoint) {
		return
	}
	l.endpoints = append(l.endpoints, endpoint)
}

// fault says on one line what was left out, or that nothing was.
func (l *endpointList) fault() error {
	switch len(l.faults) {
	case 0:
		return nil
	case 1:
		return l.faults[0]
	}
	return fmt.Errorf("%w; %w", l.faults[0], (&endpointList{faults: l.faults[1:]}).fault())
}
