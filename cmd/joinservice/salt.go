package main

import (
	"crypto/rand"
	"fmt"

	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"
)

// createSalt draws a measurement salt and leaves it in a new file at path,
// on stable storage, or leaves no file.
func createSalt(path string) (keys.MeasurementSalt, error) {
	var raw [keys.Size]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	if err := keys.WriteNew(path, raw[:]); err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("creating measurement salt: %w", printable.Error(err))
	}
	return keys.NewMeasurementSalt(raw[:])
}
