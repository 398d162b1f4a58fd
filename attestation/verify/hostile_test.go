package verify_test

import (
	"runtime"
	"strings"
	"testing"

	"disk-mapper/attestation"
	"disk-mapper/attestation/verify"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A6: documents that are as long as may be and cost more than they say.
func TestCostlyDocuments(t *testing.T) {
	v := verify.New(policy(t, honest()), attestation.BindHashChain, nil, nil)
	most := attestation.MaxDocument
	for name, raw := range map[string]string{
		"arrays in arrays":                 strings.Repeat("[", most),
		"objects in objects":               strings.Repeat(`{"a":`, most/5),
		"bomb in a member that is dropped": `{"InstanceInfo":null,"Attestation":{"ak_cert":` + strings.Repeat("[", most/2) + strings.Repeat("]", most/2-200) + `}}`,
		"many members":                     "{" + strings.Repeat(`"a":1,`, most/6-2) + `"b":1}`,
		"many quotes":                      `{"Attestation":{"ak_pub":"","quotes":[` + strings.Repeat(`{},`, most/3-40) + `{}]}}`,
		"one long number":                  strings.Repeat("9", most),
		"one byte too long":                strings.Repeat(" ", most+1),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := v.Validate(t.Context(), []byte(raw), userData, nonce)
			runtime.ReadMemStats(&after)
			require.ErrorIs(t, err, verify.ErrDocument)
			assert.Equal(t, "document", attestation.ClassOf(err))
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(256<<20), "bytes allocated, all in all")
			assert.Less(t, len(err.Error()), 1000, "what a peer can put into a log")
		})
	}
}

// Operators and their scripts know these words.
func TestClasses(t *testing.T) {
	for class, kind := range map[string]error{
		"policy": verify.ErrPolicy, "document": verify.ErrDocument, "key": verify.ErrKey,
		"quote": verify.ErrQuote, "hardware": verify.ErrHardware, "binding": verify.ErrBinding, "measurement": verify.ErrMeasurement,
	} {
		assert.Equal(t, class, attestation.ClassOf(kind))
	}
}
