package vmtest

import (
	"encoding/json"
	"io"
)

// event is one message of QEMU's monitor protocol (QMP), as far as it is read here.
type event struct {
	Event string `json:"event"`
	Data  struct {
		Reason string `json:"reason"`
	} `json:"data"`
}

// shutdownReason listens to QEMU's monitor until it closes, and returns how the guest ended.
func shutdownReason(monitor io.ReadWriteCloser) End {
	defer monitor.Close()
	if _, err := io.WriteString(monitor, `{"execute":"qmp_capabilities"}`+"\n"); err != nil {
		return Killed
	}
	end := Killed
	for messages := json.NewDecoder(monitor); ; {
		var message event
		if err := messages.Decode(&message); err != nil {
			return end
		}
		if message.Event == "SHUTDOWN" {
			end = endFor(message.Data.Reason)
		}
	}
}

func endFor(reason string) End {
	switch reason {
	case "guest-shutdown":
		return PowerOff
	case "guest-reset", "guest-panic":
		return Reset
	default:
		return Killed
	}
}
