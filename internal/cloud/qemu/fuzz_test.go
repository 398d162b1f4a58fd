package qemu

import (
	"testing"

	"disk-mapper/internal/cloud/fake"
)

// FuzzMetadata reads one body as each of the three answers: whatever it says, the
// endpoints are bounded and can be dialed.
func FuzzMetadata(f *testing.F) {
	for _, seed := range []string{
		record, "[" + record + "]", good, `"10.42.0.1"`, `null`, `[]`, `{}`, `""`, `[null]`, `<html>`, `[{"Role":1}]`,
		`{"Name":"x","VPCIP":"::ffff:10.0.0.1"}`, `[{"role":"control-plane","vpcip":"10.42.1.9"}]`, `"lb.example.org"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		client := New(MetadataURL)
		client.http.Transport = fake.InMemory{Handler: fake.Text(string(raw))}
		fake.AssertBounded(t, client)
	})
}
