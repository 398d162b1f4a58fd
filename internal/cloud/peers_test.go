package cloud

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errLookup = errors.New("lookup failed")

func controlPlane(ip string) Instance {
	return Instance{Name: "control-plane", Role: ControlPlane, VPCIP: ip}
}

func TestJoinEndpoints(t *testing.T) {
	self := answer[Instance]{value: controlPlane("10.42.1.100")}
	balancer := answer[string]{value: "10.42.0.1"}
	tests := map[string]struct {
		self     answer[Instance]
		nodes    []Instance
		balancer answer[string]
		want     []string
	}{
		"load balancer first, then the other control planes": {
			self: self, balancer: balancer,
			nodes: []Instance{controlPlane("10.42.1.100"), controlPlane("10.42.1.101"), controlPlane("10.42.1.102")},
			want:  []string{"10.42.0.1:30090", "10.42.1.101:30090", "10.42.1.102:30090"},
		},
		"workers and unknown roles hand out no keys": {
			self: self, balancer: balancer,
			nodes: []Instance{{Role: Worker, VPCIP: "10.42.2.100"}, {VPCIP: "10.42.2.101"}},
			want:  []string{"10.42.0.1:30090"},
		},
		"duplicates, also of the load balancer": {
			self: self, balancer: balancer,
			nodes: []Instance{controlPlane("10.42.0.1"), controlPlane("10.42.1.101"), controlPlane("::ffff:10.42.1.101")},
			want:  []string{"10.42.0.1:30090", "10.42.1.101:30090"},
		},
		"load balancer is this node": {
			self: self, balancer: answer[string]{value: "10.42.1.100"},
			nodes: []Instance{controlPlane("10.42.1.101")},
			want:  []string{"10.42.1.101:30090"},
		},
		"load balancer fails": {
			self: self, balancer: answer[string]{err: errLookup},
			nodes: []Instance{controlPlane("10.42.1.101")},
			want:  []string{"10.42.1.101:30090"},
		},
		"load balancer empty": {
			self: self, nodes: []Instance{controlPlane("10.42.1.101")},
			want: []string{"10.42.1.101:30090"},
		},
		"this node unknown": {
			self: answer[Instance]{err: errLookup}, balancer: balancer,
			nodes: []Instance{controlPlane("10.42.1.100")},
			want:  []string{"10.42.0.1:30090", "10.42.1.100:30090"},
		},
		"one unusable node": {
			self: self, balancer: balancer,
			nodes: []Instance{controlPlane(""), controlPlane("evil\n10.42.1.9"), controlPlane("10.42.1.101")},
			want:  []string{"10.42.0.1:30090", "10.42.1.101:30090"},
		},
		"IPv6": {
			self: self, balancer: answer[string]{value: "2001:db8::1"},
			nodes: []Instance{controlPlane("2001:DB8::2")},
			want:  []string{"[2001:db8::1]:30090", "[2001:db8::2]:30090"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := joinEndpoints(tc.self, answer[[]Instance]{value: tc.nodes}, tc.balancer)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestJoinEndpointsWithoutNodes(t *testing.T) {
	got, err := joinEndpoints(answer[Instance]{}, answer[[]Instance]{err: errLookup}, answer[string]{value: "lb.example.org"})
	require.NoError(t, err)
	assert.Equal(t, []string{"lb.example.org:30090"}, got)
}

func TestJoinEndpointsEmpty(t *testing.T) {
	errBalancer := errors.New("no balancer")
	tests := map[string]struct {
		nodes    answer[[]Instance]
		balancer answer[string]
		wantErrs []error
	}{
		"both fail": {
			nodes: answer[[]Instance]{err: errLookup}, balancer: answer[string]{err: errBalancer},
			wantErrs: []error{errLookup, errBalancer},
		},
		"only this node": {
			nodes: answer[[]Instance]{value: []Instance{controlPlane("10.0.0.1")}}, balancer: answer[string]{err: errBalancer},
			wantErrs: []error{errBalancer},
		},
		"all unusable": {
			nodes: answer[[]Instance]{value: []Instance{controlPlane("nonsense")}}, balancer: answer[string]{value: "a:b"},
			wantErrs: []error{ErrHost},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := joinEndpoints(answer[Instance]{value: controlPlane("10.0.0.1")}, tc.nodes, tc.balancer)
			assert.Empty(t, got)
			for _, want := range tc.wantErrs {
				require.ErrorIs(t, err, want)
			}
		})
	}
	_, err := joinEndpoints(answer[Instance]{value: controlPlane("10.0.0.1")}, answer[[]Instance]{}, answer[string]{value: "10.0.0.1"})
	require.ErrorContains(t, err, "no other control-plane node")
}

func TestJoinEndpointsAreBounded(t *testing.T) {
	var good, bad []Instance
	for i := range 100_000 {
		good = append(good, controlPlane(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)))
		bad = append(bad, controlPlane("nonsense"))
	}
	got, err := joinEndpoints(answer[Instance]{}, answer[[]Instance]{value: good}, answer[string]{value: "lb.example.org"})
	require.NoError(t, err)
	assert.Len(t, got, MaxEndpoints)

	_, err = joinEndpoints(answer[Instance]{}, answer[[]Instance]{value: bad}, answer[string]{})
	require.ErrorIs(t, err, ErrHost)
	assert.Less(t, len(err.Error()), 1000)
}

// fakeMetadata answers after a while each, or when its caller gives up.
type fakeMetadata struct{ self, nodes, balancer time.Duration }

func (m fakeMetadata) Self(ctx context.Context) (Instance, error) {
	return controlPlane("10.0.0.1"), pause(ctx, m.self)
}

func (m fakeMetadata) Nodes(ctx context.Context) ([]Instance, error) {
	if err := pause(ctx, m.nodes); err != nil {
		return nil, err
	}
	return []Instance{controlPlane("10.0.0.1"), controlPlane("10.0.0.2")}, nil
}

func (m fakeMetadata) LoadBalancer(ctx context.Context) (string, error) {
	return "10.0.0.3", pause(ctx, m.balancer)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestLookupsRunTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		got, err := Peers(fakeMetadata{4 * time.Second, 5 * time.Second, 3 * time.Second}).JoinEndpoints(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"10.0.0.3:30090", "10.0.0.2:30090"}, got)
		assert.Equal(t, 5*time.Second, time.Since(start))
	})
}

func TestSilentLoadBalancerDoesNotHideTheNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		got, err := Peers(fakeMetadata{balancer: time.Hour}).JoinEndpoints(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"10.0.0.2:30090"}, got)
		assert.Equal(t, lookupTimeout, time.Since(start))
	})
}

func TestCancelledLookupReturnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := Peers(fakeMetadata{time.Hour, time.Hour, time.Hour}).JoinEndpoints(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}
