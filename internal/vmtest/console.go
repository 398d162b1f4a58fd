package vmtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrEnded says that the VM ended before the awaited line came.
var ErrEnded = errors.New("the VM has ended")

// tailLines is how much of the console an error shows.
const tailLines = 25

// The firmware clears the screen and moves the cursor on the serial console, systemd resets it. Control sequences, in ECMA-48's
// form, operating system commands, and the short escapes.
var terminalEscapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()].|[c-o])`)

// Line is one line of the console, without its line end and without terminal escapes.
type Line struct {
	Index int
	// At is the time since power-on.
	At   time.Duration
	Text string
}

// console collects the lines of a serial console and wakes who waits for one.
type console struct {
	echo  io.Writer
	start time.Time

	mu    sync.Mutex
	lines []Line
	ended bool
	news  chan struct{} // closed and replaced whenever something above has changed
}

func newConsole(echo io.Writer) *console {
	if echo == nil {
		echo = io.Discard
	}
	return &console{echo: echo, start: time.Now(), news: make(chan struct{})}
}

// read takes lines until the serial port is closed.
func (c *console) read(serial io.Reader) {
	reader := bufio.NewReader(serial)
	for {
		text, err := reader.ReadString('\n')
		if err == nil || text != "" {
			c.add(clean(text))
		}
		if err != nil {
			break
		}
	}
	c.change(func() { c.ended = true })
}

func clean(text string) string {
	return strings.TrimRight(terminalEscapes.ReplaceAllString(text, ""), "\r\n")
}

func (c *console) add(text string) {
	_, _ = fmt.Fprintln(c.echo, text) // whoever listens in must not end the VM
	c.change(func() {
		c.lines = append(c.lines, Line{Index: len(c.lines), At: time.Since(c.start), Text: text})
	})
}

func (c *console) change(what func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what()
	close(c.news)
	c.news = make(chan struct{})
}

// wait returns the first line from index on for which match holds.
func (c *console) wait(ctx context.Context, index int, match func(string) bool) (Line, error) {
	for {
		lines, ended, news := c.from(index)
		if i := slices.IndexFunc(lines, func(line Line) bool { return match(line.Text) }); i >= 0 {
			return lines[i], nil
		}
		if ended {
			return Line{}, fmt.Errorf("%w\n%s", ErrEnded, c.tail())
		}
		index += len(lines)
		select {
		case <-ctx.Done():
			return Line{}, fmt.Errorf("%w\n%s", context.Cause(ctx), c.tail())
		case <-news:
		}
	}
}

func (c *console) from(index int) (lines []Line, ended bool, news <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines[min(index, len(c.lines)):]), c.ended, c.news
}

func (c *console) all() []Line {
	lines, _, _ := c.from(0)
	return lines
}

func (c *console) tail() string {
	lines := c.all()
	var text strings.Builder
	text.WriteString("last lines of the console:\n")
	for _, line := range lines[max(0, len(lines)-tailLines):] {
		fmt.Fprintf(&text, "  %7.3f %s\n", line.At.Seconds(), line.Text)
	}
	return text.String()
}
