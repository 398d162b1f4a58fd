package kernelline

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"disk-mapper/internal/printable"
)

const (
	prefix = "constel."
	// nearName is how many letters a name may differ from a known one, or its prefix
	// from ours, to be taken for a misspelt one. No parameter of the kernel, of systemd or
	// of dracut is as near.
	nearName   = 2
	nearPrefix = 1
)

// canonical is a name as the kernel compares its own.
func canonical(name string) string { return strings.ReplaceAll(name, "_", "-") }

// isOption tells our words from others. It fails if w is neither, or both.
func (w word) isOption() (bool, error) {
	name := canonical(w.name)
	if _, ok := known[name]; ok {
		return true, w.hidesNone()
	}
	folded := strings.ToLower(name)
	nearest, distance := nearestName(folded)
	if strings.Contains(folded, prefix) || distance <= nearName || nearOurPrefix(folded) {
		return false, fmt.Errorf("unknown option %s on the kernel command line: did you mean %s? known are %s",
			printable.Quote(w.name), nearest, strings.Join(names(), ", "))
	}
	return false, w.hidesNone()
}

// hidden is an option that something before it has made a part of another word: a
// comma, quotes, a space that is none to the kernel.
var hidden = regexp.MustCompile(`.(constel(lation)?\.[a-z-]+)=`)

func (w word) hidesNone() error {
	if found := hidden.FindStringSubmatch(strings.ToLower(canonical(w.text()))); found != nil {
		return fmt.Errorf("the kernel command line has %s inside of %s: each option wants to be a word of its own",
			printable.Quote(found[1]), printable.Quote(w.text()))
	}
	return nil
}

func names() []string { return slices.Sorted(maps.Keys(known)) }

// nearestName is the known one with the smallest distance, and that.
func nearestName(name string) (nearest string, least int) {
	for _, candidate := range names() {
		if d := distance(name, candidate); nearest == "" || d < least {
			nearest, least = candidate, d
		}
	}
	return nearest, least
}

// nearOurPrefix is for a prefix that is misspelt, or without a name, or forgotten
// before a name that nobody else has.
func nearOurPrefix(name string) bool {
	const ours = "constel"
	if first, _, ok := strings.Cut(name, "."); ok {
		return distance(first, "constellation") <= nearName || distance(first, ours) <= nearPrefix
	}
	if name == ours {
		return true
	}
	_, distance := nearestName(prefix + name)
	return distance <= nearPrefix && strings.Contains(name, "-")
}

// distance is the number of letters to insert, leave out, change or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if long := len(x) - len(y); long > maxDistance || -long > maxDistance {
		return max(long, -long)
	}
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range y {
		rows[0][j+1] = j + 1
	}
	for i := range x {
		for j := range y {
			change := 1
			if x[i] == y[j] || x[i] >= utf8.RuneSelf { // which may look like any letter
				change = 0
			}
			d := min(rows[i][j+1]+1, rows[i+1][j]+1, rows[i][j]+change)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				d = min(d, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = d
		}
	}
	return rows[len(x)][len(y)]
}

// maxDistance bounds the work for a long word.
const maxDistance = 32
