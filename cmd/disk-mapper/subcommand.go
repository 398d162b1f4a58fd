package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"

	"disk-mapper/internal/printable"
)

// subcommand is the flags of one that is read by people and scripts, not by a
// console.
func subcommand(name, usage string, stderr io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("disk-mapper "+name, flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { _, _ = io.WriteString(stderr, usage); f.PrintDefaults() }
	return f
}

// parsed reads args, of which so many must be left over. If it returns false, there
// is nothing more to do than to exit with status.
func parsed(f *flag.FlagSet, args []string, operands int) (status int, ok bool) {
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, false
	case err != nil:
		return exitUsage, false
	case f.NArg() != operands:
		f.Usage()
		return exitUsage, false
	}
	return 0, true
}

func printJSON(out io.Writer, v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := out.Write(printable.JSON(text.Bytes()))
	return err
}
