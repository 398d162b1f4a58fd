package cloud

import (
	"encoding/json"
	"strings"
)

// Role is a node's part in the cluster. The zero value is unknown.
type Role int

// The roles a node can have.
const (
	Unknown Role = iota
	ControlPlane
	Worker
)

// String returns the published name.
func (r Role) String() string {
	switch r {
	case ControlPlane:
		return "ControlPlane"
	case Worker:
		return "Worker"
	}
	return "Unknown"
}

// ParseRole accepts all published spellings; anything else is Unknown.
func ParseRole(s string) Role {
	switch strings.ToLower(s) {
	case "controlplane", "control-plane":
		return ControlPlane
	case "worker":
		return Worker
	}
	return Unknown
}

// MarshalJSON writes the published name.
func (r Role) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// UnmarshalJSON reads what ParseRole accepts.
func (r *Role) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*r = ParseRole(s)
	return nil
}
