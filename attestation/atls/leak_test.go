package atls

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"disk-mapper/internal/faults"
)

// TestMain: after all tests, no handshake goes on and no descriptor is open that
// was not before.
func TestMain(m *testing.M) {
	before, err := faults.OpenFiles(os.Getpid())
	if err != nil {
		panic(err)
	}
	code := m.Run()
	if left := leaked(before); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "the tests leave behind: "+left)
		code = 1
	}
	os.Exit(code)
}

func leaked(before int) (left string) {
	stacks := make([]byte, 1<<20)
	for range 1000 {
		left = ""
		for _, stack := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n")[1:] { // without this one
			if strings.Contains(stack, "attestation/atls.") || strings.Contains(stack, "crypto/tls.") || strings.Contains(stack, "google.golang.org/grpc") {
				left = stack
			}
		}
		if open, err := faults.OpenFiles(os.Getpid()); err != nil || open > before {
			left = fmt.Sprintf("%d descriptors, %d before (%v)", open, before, err)
		}
		if left == "" {
			break
		}
		time.Sleep(5 * time.Millisecond) // what was told to end, ends
	}
	return left
}
