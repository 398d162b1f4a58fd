package vmtest

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShutdownReason(t *testing.T) {
	tests := map[string]struct {
		events string
		want   End
	}{
		"power off":        {`{"event":"POWERDOWN"} {"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-shutdown"}}`, PowerOff},
		"reboot":           {`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-reset"}}`, Reset},
		"panic":            {`{"event":"SHUTDOWN","data":{"guest":true,"reason":"guest-panic"}}`, Reset},
		"signal":           {`{"event":"SHUTDOWN","data":{"guest":false,"reason":"host-signal"}}`, Killed},
		"no last word":     {`{"event":"RESUME"}`, Killed},
		"cut in the event": {`{"event":"SHUTDOWN","data":{"guest":true,"rea`, Killed},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			ours, qemu := net.Pipe()
			reason := make(chan End)
			go func() { reason <- shutdownReason(ours) }()
			command := make([]byte, len(`{"execute":"qmp_capabilities"}`)+1)
			_, err := io.ReadFull(qemu, command)
			require.NoError(t, err)
			_, err = io.WriteString(qemu, `{"QMP":{"version":{}}} {"return":{}} `+tc.events)
			require.NoError(t, err)
			require.NoError(t, qemu.Close())
			assert.Equal(t, tc.want, <-reason)
		})
	}
}
