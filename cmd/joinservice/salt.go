package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"disk-mapper/internal/keys"
)

// createSalt draws a measurement salt and leaves it in a new file at path,
// on stable storage, or leaves no file.
func createSalt(path string) (keys.MeasurementSalt, error) {
	var raw [keys.Size]byte
	_, _ = rand.Read(raw[:]) // never fails, by its contract
	if err := writeNew(path, raw[:]); err != nil {
		return keys.MeasurementSalt{}, fmt.Errorf("creating measurement salt: %w", err)
	}
	return keys.NewMeasurementSalt(raw[:])
}

func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
