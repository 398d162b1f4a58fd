package issue

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type reporter struct{ Reporter }

// A driver may be loaded after the first question: a failure is not kept, and a source is.
func TestSourceOfReportsIsFoundLater(t *testing.T) {
	asked := 0
	find := kept(func() (Reporter, error) {
		if asked++; asked == 1 {
			return nil, errors.New("no device")
		}
		return reporter{}, nil
	})
	_, err := find()
	require.Error(t, err)
	for range 3 {
		found, err := find()
		require.NoError(t, err)
		assert.NotNil(t, found)
	}
	assert.Equal(t, 2, asked)
}
