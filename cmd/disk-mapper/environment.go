package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"disk-mapper/internal/printable"
)

// Variables of the environment whose name says that they are meant for this program.
// Images of v2.x also set the second, and hand it over with a flag.
const variablePrefix = "CONSTEL_"

var variables = []string{variantVariable, "CONSTEL_CSP"}

// checkEnvironment names each variable that is empty, unknown, or there twice: what
// was meant to be said with it would get lost. Case does not make another name.
func checkEnvironment(environ []string) error {
	var faults []error
	seen := map[string]bool{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		switch {
		case !strings.HasPrefix(strings.ToUpper(name), variablePrefix):
			continue
		case !slices.Contains(variables, name):
			faults = append(faults, fmt.Errorf("unknown environment variable %s, want one of: %s", printable.Quote(name), strings.Join(variables, ", ")))
		case value == "":
			faults = append(faults, fmt.Errorf("environment variable %s is empty: give it a value, or leave it out", name))
		case seen[name]:
			faults = append(faults, fmt.Errorf("environment variable %s is there twice", name))
		}
		seen[name] = true
	}
	return errors.Join(faults[:min(len(faults), maxVariableFaults)]...)
}

const maxVariableFaults = 4
