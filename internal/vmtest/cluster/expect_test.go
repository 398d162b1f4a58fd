package cluster

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLearnsFromTheConsole(t *testing.T) {
	value := strings.Repeat("AB", 32)
	for name, console := range map[string]string{
		"whole":       "kernel\r\n" + booted + value + "\r\nmore\r\n",
		"no TPM":      booted + "\r\n",
		"not a value": booted + value[1:] + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 7, len(console)} {
				var out bytes.Buffer
				var learned []string
				l := &learner{out: &out, learn: func(pcr4 string) error { learned = append(learned, pcr4); return nil }}
				for rest := []byte(console); len(rest) > 0; rest = rest[min(size, len(rest)):] {
					_, err := l.Write(rest[:min(size, len(rest))])
					require.NoError(t, err)
				}
				assert.Equal(t, console, out.String())
				if name == "whole" {
					assert.Equal(t, []string{value}, learned)
				} else {
					assert.Empty(t, learned)
				}
			}
		})
	}
}
