package keys

import (
	"errors"
	"fmt"
	"os"
)

// ReadMasterSecret reads the file of ParseMasterSecret at path.
func ReadMasterSecret(path string) (MasterSecret, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return MasterSecret{}, fmt.Errorf("master secret: %w", err)
	}
	defer clear(raw)
	master, err := ParseMasterSecret(raw)
	if err != nil {
		return MasterSecret{}, fmt.Errorf("master secret %s: %w", path, err)
	}
	return master, nil
}

// WriteNew leaves content in a new file, mode 0600, on stable storage, or leaves
// no file. It fails if path exists.
func WriteNew(path string, content []byte) error {
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
