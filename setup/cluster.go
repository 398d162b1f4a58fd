package setup

import (
	"bytes"
	"context"
	"fmt"

	"disk-mapper/internal/keys"
)

// OneCluster is a Register for a node that may belong to one cluster only. Without
// it, whoever runs the same image as a cluster of his own can make a node his: the
// secret from which the ID follows is measured nowhere else.
type OneCluster struct {
	Register
	// ID is that of the cluster; the zero value lets in any.
	ID keys.ClusterID
}

// Check fails if id is that of another cluster. The error names both: an ID is no
// secret.
func (o OneCluster) Check(id keys.ClusterID) error {
	if o.ID.Bytes() != nil && !bytes.Equal(o.ID.Bytes(), id.Bytes()) {
		return fmt.Errorf("key and salt are those of cluster %x, and constel.cluster-id= on the kernel command line wants %x", id.Bytes(), o.ID.Bytes())
	}
	return nil
}

// Extend fails as Check does before anything is measured.
func (o OneCluster) Extend(ctx context.Context, id keys.ClusterID) error {
	if err := o.Check(id); err != nil {
		return fmt.Errorf("%w: nothing was measured", err)
	}
	return o.Register.Extend(ctx, id)
}
