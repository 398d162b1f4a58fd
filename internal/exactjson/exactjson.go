// Package exactjson decodes JSON from untrusted places so that what Go saw is
// all there was. encoding/json alone folds the case of member names, takes the
// last of duplicates and stops at the first value: a document can show one
// thing to Go and another to the next parser.
package exactjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a document. No format read here needs more.
const maxDepth = 32

// Unmarshal decodes raw into v like encoding/json, and fails unless raw is one
// value of valid UTF-8 in which every member has exactly the name of a field of
// v, occurs once, and is written as encoding v again would write it.
func Unmarshal(raw []byte, v any) error {
	if !utf8.Valid(raw) {
		return errors.New("JSON is not valid UTF-8")
	}
	if err := checkNames(raw); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return compare("", tree(raw), tree(again))
}

// checkNames walks the tokens: no member name twice in an object, no second
// value, bounded depth.
func checkNames(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := walk(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("JSON is followed by more data")
	}
	return nil
}

func walk(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("JSON is nested deeper than %d", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return fmt.Errorf("JSON is malformed: %w", err)
	}
	open, isDelim := token.(json.Delim)
	if !isDelim {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return fmt.Errorf("JSON is malformed: %w", err)
			}
			key, _ := name.(string)
			if seen[key] {
				return fmt.Errorf("JSON member %.64q occurs twice", key)
			}
			seen[key] = true
		}
		if err := walk(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing delimiter
	return err
}

func tree(raw []byte) any {
	var t any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	_ = d.Decode(&t) // raw has been decoded before
	return t
}

// compare names the first place in which what was read and what it means differ.
func compare(path string, found, meant any) error {
	object, isObject := found.(map[string]any)
	other, otherIs := meant.(map[string]any)
	if !isObject || !otherIs {
		if !reflect.DeepEqual(found, meant) {
			return fmt.Errorf("JSON member %q: found %s, which reads as %s", path, brief(found), brief(meant))
		}
		return nil
	}
	for _, name := range names(object, other) {
		f, inFound := object[name]
		m, inMeant := other[name]
		switch {
		case !inMeant:
			return fmt.Errorf("JSON member %q is unknown or empty", path+"/"+name)
		case !inFound:
			return fmt.Errorf("JSON member %q is missing", path+"/"+name)
		}
		if err := compare(path+"/"+name, f, m); err != nil {
			return err
		}
	}
	return nil
}

func names(a, b map[string]any) []string {
	var all []string
	for name := range a {
		all = append(all, name)
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

func brief(v any) string { return fmt.Sprintf("%.64q", fmt.Sprint(v)) }
