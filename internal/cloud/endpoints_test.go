package cloud

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"disk-mapper/internal/printable"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errLookup = errors.New("lookup failed")

func controlPlane(ip string) Instance {
	return Instance{Name: "control-plane", Role: ControlPlane, VPCIP: ip}
}

// platform answers after a while each, or when its caller gives up.
type platform struct {
	self     answer[Instance]
	nodes    answer[[]Instance]
	balancer answer[string]
	after    map[string]time.Duration
}

func (p platform) Self(ctx context.Context) (Instance, error) {
	return p.self.value, errors.Join(p.self.err, pause(ctx, p.after["self"]))
}

func (p platform) Nodes(ctx context.Context) ([]Instance, error) {
	return p.nodes.value, errors.Join(p.nodes.err, pause(ctx, p.after["nodes"]))
}

func (p platform) LoadBalancer(ctx context.Context) (string, error) {
	return p.balancer.value, errors.Join(p.balancer.err, pause(ctx, p.after["balancer"]))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestControlPlanes(t *testing.T) {
	self := answer[Instance]{value: controlPlane("10.42.1.100")}
	for name, tc := range map[string]struct {
		self    answer[Instance]
		nodes   []Instance
		want    []string
		wantErr string
	}{
		"the others": {
			self: self, nodes: []Instance{controlPlane("10.42.1.100"), controlPlane("10.42.1.101"), controlPlane("10.42.1.102")},
			want: []string{"10.42.1.101:30090", "10.42.1.102:30090"},
		},
		"M7: workers and unknown roles hand out no keys": {
			self: self, nodes: []Instance{{Role: Worker, VPCIP: "10.42.2.100"}, {VPCIP: "10.42.2.101"}, controlPlane("10.42.1.101")},
			want: []string{"10.42.1.101:30090"},
		},
		"M6: duplicates": {
			self: self, nodes: []Instance{controlPlane("10.42.1.101"), controlPlane("10.42.1.101"), controlPlane("::ffff:10.42.1.101")},
			want: []string{"10.42.1.101:30090"},
		},
		"M6: nonsense among good ones": {
			self: self, nodes: []Instance{
				controlPlane(""), controlPlane("evil\n10.42.1.9"), controlPlane("0.0.0.0"), controlPlane("169.254.169.254"),
				controlPlane("node.example.org"), controlPlane("10.42.1.9:80"), controlPlane("fe80::1%eth0"), controlPlane("10.42.1.101"),
			},
			want: []string{"10.42.1.101:30090"}, wantErr: `node "control-plane": "evil\n10.42.1.9": not a usable host`,
		},
		"M6: only this node": {self: self, nodes: []Instance{controlPlane("10.42.1.100")}},
		"M6: empty":          {self: self},
		"this node unknown": {
			self: answer[Instance]{err: errLookup}, nodes: []Instance{controlPlane("10.42.1.100")}, want: []string{"10.42.1.100:30090"},
		},
		"IPv6": {self: self, nodes: []Instance{controlPlane("2001:DB8::2")}, want: []string{"[2001:db8::2]:30090"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ControlPlanes(platform{self: tc.self, nodes: answer[[]Instance]{value: tc.nodes}}).JoinEndpoints(t.Context())
			assert.Equal(t, tc.want, got)
			if tc.wantErr == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.wantErr)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	_, err := ControlPlanes(platform{nodes: answer[[]Instance]{err: errLookup}}).JoinEndpoints(t.Context())
	require.ErrorIs(t, err, errLookup)
	some := answer[[]Instance]{value: []Instance{controlPlane("10.42.1.101")}, err: errLookup}
	got, err := ControlPlanes(platform{nodes: some}).JoinEndpoints(t.Context())
	require.ErrorIs(t, err, errLookup)
	assert.Equal(t, []string{"10.42.1.101:30090"}, got, "one fault does not take the rest")
}

func TestLoadBalancer(t *testing.T) {
	self := answer[Instance]{value: controlPlane("10.42.1.100")}
	for name, tc := range map[string]struct {
		balancer answer[string]
		want     []string
		wantErr  error
	}{
		"address":            {answer[string]{value: "10.42.0.1"}, []string{"10.42.0.1:30090"}, nil},
		"name":               {answer[string]{value: "lb.example.org"}, []string{"lb.example.org:30090"}, nil},
		"R11: this node":     {answer[string]{value: "10.42.1.100"}, nil, nil},
		"M8: empty":          {answer[string]{}, nil, ErrHost},
		"M6: with a port":    {answer[string]{value: "10.42.0.1:1"}, nil, ErrHost},
		"fails":              {answer[string]{err: errLookup}, nil, errLookup},
		"platform has none":  {answer[string]{err: fmt.Errorf("x: %w", ErrUnsupported)}, nil, nil},
		"M6: link-local":     {answer[string]{value: "169.254.169.254"}, nil, ErrHost},
		"M6: with a newline": {answer[string]{value: "lb.example.org\n"}, nil, ErrHost},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := LoadBalancer(platform{self: self, balancer: tc.balancer}).JoinEndpoints(t.Context())
			assert.Equal(t, tc.want, got)
			require.ErrorIs(t, err, tc.wantErr)
		})
	}
}

// M5: 200,000 instances are cut, and so is what is said of them.
func TestM5EndpointsAreBounded(t *testing.T) {
	var good, bad []Instance
	for i := range 200_000 {
		good = append(good, controlPlane(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)))
		bad = append(bad, controlPlane("nonsense"))
	}
	got, err := ControlPlanes(platform{nodes: answer[[]Instance]{value: good}}).JoinEndpoints(t.Context())
	require.NoError(t, err)
	assert.Len(t, got, MaxEndpoints)

	_, err = ControlPlanes(platform{nodes: answer[[]Instance]{value: bad}}).JoinEndpoints(t.Context())
	require.ErrorIs(t, err, ErrHost)
	assert.Less(t, len(err.Error()), 2*printable.MaxError)
}

func TestLookupsAreBoundedInTime(t *testing.T) {
	nodes := answer[[]Instance]{value: []Instance{controlPlane("10.0.0.2")}}
	for name, tc := range map[string]struct {
		after map[string]time.Duration
		want  time.Duration
	}{
		"self is asked beside": {map[string]time.Duration{"self": 4 * time.Second, "nodes": 5 * time.Second}, 5 * time.Second},
		"M3: self is silent":   {map[string]time.Duration{"self": time.Hour, "nodes": time.Second}, time.Second + selfGrace},
		"M3: nodes are silent": {map[string]time.Duration{"nodes": time.Hour}, lookupTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, err := ControlPlanes(platform{nodes: nodes, after: tc.after}).JoinEndpoints(t.Context())
				assert.Equal(t, tc.want == lookupTimeout, errors.Is(err, context.DeadlineExceeded))
				assert.Equal(t, tc.want, time.Since(start))
			})
		})
	}
}

func TestParseEndpoints(t *testing.T) {
	for words, want := range map[string][]string{
		"10.0.0.1":                         {"10.0.0.1:30090"},
		"10.0.0.1:443,lb.example.org":      {"10.0.0.1:443", "lb.example.org:30090"},
		"2001:db8::1,[2001:DB8::2]:443":    {"[2001:db8::1]:30090", "[2001:db8::2]:443"},
		"10.0.0.1,10.0.0.1:30090,10.0.0.1": {"10.0.0.1:30090"},
	} {
		source, err := ParseEndpoints(words)
		require.NoError(t, err, words)
		got, err := source.JoinEndpoints(t.Context())
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, word := range []string{
		"", "10.0.0.1:", ":30090", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:+1", "10.0.0.1:080", "127.0.0.1", "localhost:1",
		"169.254.169.254", "[10.0.0.1]:1", "[2001:db8::1]", "fe80::1%eth0", "a b", "http://a", "a:b:c",
	} {
		_, err := ParseEndpoints("10.0.0.9," + word)
		require.ErrorIs(t, err, ErrHost, word)
		assert.Contains(t, err.Error(), fmt.Sprintf("%q", hostOf(word)))
	}
	many := "10.0.0.1"
	for i := range MaxStatic {
		many += fmt.Sprintf(",10.0.1.%d", i)
	}
	_, err := ParseEndpoints(many)
	require.ErrorIs(t, err, ErrHost)
}

// hostOf is how an error names a word whose port is good.
func hostOf(word string) string {
	switch word {
	case ":30090":
		return ""
	case "localhost:1":
		return "localhost"
	}
	return word
}
