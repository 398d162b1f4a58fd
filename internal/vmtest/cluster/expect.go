package cluster

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
)

// booted begins the line in which an initrd says what its firmware started.
const booted = "initrd: booted by PCR 4 "

var bootedLine = regexp.MustCompile(booted + "([0-9A-F]{64})\r?\n")

// expect writes the policy of operator and JoinService for nodes with this PCR 4.
func (c *Cluster) expect(pcr4 string) error {
	policy := fmt.Sprintf(`{"measurements": {"4": {"expected": "%s", "warnOnly": false}, "%d": {"expected": "%064d", "warnOnly": false}}}`+"\n",
		pcr4, c.profile.ClusterIDPCR, 0)
	whole := c.File(policyFile) + ".new" // readers see the old one or the new one
	if err := os.WriteFile(whole, []byte(policy), 0o644); err != nil {
		return err
	}
	return os.Rename(whole, c.File(policyFile))
}

// learner passes a console on and tells what the node says about its boot, before
// the lines after it are passed on.
type learner struct {
	out   io.Writer
	learn func(pcr4 string) error
	tail  []byte
}

func (l *learner) Write(b []byte) (int, error) {
	l.tail = append(l.tail, b...)
	if found := bootedLine.FindSubmatch(l.tail); found != nil {
		if err := l.learn(string(found[1])); err != nil {
			return 0, err
		}
	}
	if end := bytes.LastIndexByte(l.tail, '\n'); end >= 0 {
		l.tail = append([]byte(nil), l.tail[end+1:]...)
	}
	return l.out.Write(b)
}
