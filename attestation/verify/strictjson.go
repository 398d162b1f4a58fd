package verify

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What encoding/json lets pass and these functions do not: a name given twice
// (the last wins), names in another case, unknown names, null for a value, text
// after the end, line breaks inside base64.

// members says how to read each member that an object may have.
type members map[string]func(json.RawMessage) error

// decodeObject reads an object that has no other members than known, each at
// most once, and all that are required.
func decodeObject(raw []byte, known members, required ...string) error {
	seen := map[string]bool{}
	err := eachMember(raw, func(name string, value json.RawMessage) error {
		seen[name] = true
		decode, ok := known[name]
		if !ok {
			return errors.New("unknown member")
		}
		return decode(value)
	})
	if err != nil {
		return err
	}
	for _, name := range required {
		if !seen[name] {
			return fmt.Errorf("member %s is missing", name)
		}
	}
	return nil
}

// eachMember hands each member to visit, and refuses a name given twice.
func eachMember(raw []byte, visit func(name string, value json.RawMessage) error) error {
	seen := map[string]bool{}
	return each(raw, '{', func(d *json.Decoder) error {
		token, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return errors.New("member without a name")
		}
		if seen[name] {
			return fmt.Errorf("%.40q: given twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if err := visit(name, value); err != nil {
			return fmt.Errorf("%.40q: %w", name, err)
		}
		return nil
	})
}

// eachElement hands each element of an array to visit.
func eachElement(raw []byte, visit func(json.RawMessage) error) error {
	n := 0
	return each(raw, '[', func(d *json.Decoder) error {
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		n++
		if err := visit(value); err != nil {
			return fmt.Errorf("element %d: %w", n, err)
		}
		return nil
	})
}

// each calls next at every element between the brackets, and refuses text
// after the closing one.
func each(raw []byte, open json.Delim, next func(*json.Decoder) error) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if token, err := d.Token(); err != nil || token != open {
		return fmt.Errorf("want a value that begins with %v", open)
	}
	for d.More() {
		if err := next(d); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("unfinished: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("text after the end")
	}
	return nil
}

// into reads a value of one JSON type; null is none of them.
func into[T any](target *T) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		if isNull(raw) {
			return errors.New("is null")
		}
		if json.Unmarshal(raw, target) != nil {
			return fmt.Errorf("want a %T", *target)
		}
		return nil
	}
}

// base64Bytes reads standard base64 with padding.
func base64Bytes(target *[]byte) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var text string
		if err := into(&text)(raw); err != nil {
			return err
		}
		if strings.ContainsAny(text, "\r\n") {
			return errors.New("line break in base64")
		}
		decoded, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return errors.New("not base64")
		}
		*target = decoded
		return nil
	}
}

// pcrIndex reads the decimal form without sign or leading zeros.
func pcrIndex(name string) (int, error) {
	index, err := strconv.Atoi(name)
	if err != nil || strconv.Itoa(index) != name {
		return 0, errors.New("not the index of a PCR")
	}
	return index, checkIndex(index)
}

func ignore(json.RawMessage) error { return nil }

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }
