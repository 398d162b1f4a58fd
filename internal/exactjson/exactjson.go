// Package exactjson decodes JSON from untrusted places so that what Go saw is
// all there was. encoding/json alone folds the case of member names, takes the
// last of duplicates and passes over null: a document can show one thing to Go
// and another to the next parser.
package exactjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"disk-mapper/internal/printable"
)

// maxDepth bounds the nesting of a document. No format read here needs more.
const maxDepth = 32

// Unmarshal decodes raw into v like encoding/json, and fails unless raw is one
// value of valid UTF-8 in which every member has exactly the name of a field of
// v, occurs once, is not null, and is written as encoding v again would write
// it. The members named in nullable, and what is in them, may be null. What is
// wrong with a member is told as a *Fault.
func Unmarshal(raw []byte, v any, nullable ...string) error {
	if !utf8.Valid(raw) {
		return errors.New("JSON is not valid UTF-8")
	}
	if err := checkTokens(raw, nullable); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return mistyped(err)
	}
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return compare(tree(raw), tree(again))
}

// Fault is what is wrong with one member of a document.
type Fault struct {
	Path string // names of the members around it and its own, each after a slash
	What string // in words, without the member's value
}

func (f *Fault) Error() string {
	return fmt.Sprintf("JSON member %s %s", printable.Quote(f.Path), f.What)
}

// mistyped says which member does not fit the type of its field. It leaves out
// the keys of maps.
func mistyped(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		path := strings.TrimSuffix("/"+strings.ReplaceAll(e.Field, ".", "/"), "/")
		return &Fault{Path: path, What: fmt.Sprintf("holds %s, want %v", printable.Text(e.Value), e.Type)}
	}
	return printable.Error(err) // quotes a number or a key in full
}

// within names the member around the place of a fault. Paths are made from
// their end because most are never needed: a long name would be copied for each
// of the thousands of members in it.
func within(name string, err error) error {
	if f, ok := errors.AsType[*Fault](err); ok {
		f.Path = "/" + name + f.Path
	}
	return err
}

// checkTokens finds what does not survive decoding: a member name that is twice
// in an object, null, a second value, too many levels.
func checkTokens(raw []byte, nullable []string) error {
	w := walker{json.NewDecoder(bytes.NewReader(raw)), nullable}
	w.UseNumber()
	if err := w.value(0, false); err != nil {
		return err
	}
	if _, err := w.Token(); !errors.Is(err, io.EOF) {
		return errors.New("JSON is followed by more data")
	}
	return nil
}

type walker struct {
	*json.Decoder
	nullable []string
}

func (w walker) value(depth int, mayBeNull bool) error {
	if depth > maxDepth {
		return fmt.Errorf("JSON is nested deeper than %d", maxDepth)
	}
	token, err := w.Token()
	if err != nil {
		return malformed(err)
	}
	switch token {
	case nil:
		if !mayBeNull {
			return &Fault{What: "is null"}
		}
	case json.Delim('{'):
		return w.object(depth, mayBeNull)
	case json.Delim('['):
		return w.array(depth, mayBeNull)
	}
	return nil
}

func (w walker) object(depth int, mayBeNull bool) error {
	seen := map[string]bool{}
	for w.More() {
		token, err := w.Token()
		if err != nil {
			return malformed(err)
		}
		name, _ := token.(string)
		if seen[name] {
			return within(name, &Fault{What: "occurs twice"})
		}
		seen[name] = true
		if err := w.value(depth+1, mayBeNull || slices.Contains(w.nullable, name)); err != nil {
			return within(name, err)
		}
	}
	return w.end()
}

func (w walker) array(depth int, mayBeNull bool) error {
	for i := 0; w.More(); i++ {
		if err := w.value(depth+1, mayBeNull); err != nil {
			return within(strconv.Itoa(i), err)
		}
	}
	return w.end()
}

// end reads the closing delimiter.
func (w walker) end() error {
	_, err := w.Token()
	return malformed(err)
}

func malformed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("JSON is malformed: %w", printable.Error(err))
}

func tree(raw []byte) any {
	var t any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&t) // raw has been decoded before
	return t
}

// compare names the first place in which what was read and what it means differ.
func compare(found, meant any) error {
	switch f := found.(type) {
	case map[string]any:
		if m, ok := meant.(map[string]any); ok {
			return compareObjects(f, m)
		}
	case []any:
		if m, ok := meant.([]any); ok && len(m) == len(f) {
			return compareArrays(f, m)
		}
	}
	if !reflect.DeepEqual(found, meant) {
		return &Fault{What: "is not written as its value is"} // the value may be a secret
	}
	return nil
}

func compareObjects(found, meant map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(found)) {
		m, known := meant[name]
		if !known {
			return within(name, &Fault{What: "is unknown or empty"})
		}
		if err := compare(found[name], m); err != nil {
			return within(name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(meant)) {
		if _, ok := found[name]; !ok {
			return within(name, &Fault{What: "is missing"})
		}
	}
	return nil
}

func compareArrays(found, meant []any) error {
	for i := range found {
		if err := compare(found[i], meant[i]); err != nil {
			return within(strconv.Itoa(i), err)
		}
	}
	return nil
}
