package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"disk-mapper/internal/argument"
	"disk-mapper/internal/keys"
	"disk-mapper/internal/printable"

	"github.com/spf13/cobra"
)

const defaultMasterSecret = "constellation-mastersecret.json"

func masterSecretCommand(files *workspace) *cobra.Command {
	group := &cobra.Command{Use: "mastersecret", Short: "Make the secret from which all keys of a cluster derive"}
	var file string
	create := &cobra.Command{
		Use:   "create",
		Short: "Create the master secret of a new cluster",
		Long: `Create draws the master secret of a new cluster and writes it to a file that
only you can read. An existing file is never overwritten.

All disk keys of the cluster derive from this secret. Whoever has the file can
read the disks; whoever loses it can no longer recover the cluster.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unexpected argument %s: the file goes with --master-secret", printable.Quote(args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return createMasterSecret(files.path(file), cmd.OutOrStdout())
		},
	}
	create.Flags().Var(argument.NewWord(&file, defaultMasterSecret), "master-secret", "write the master secret to this `FILE`")
	group.AddCommand(create)
	return group
}

func createMasterSecret(path string, out io.Writer) error {
	err := keys.WriteNew(path, newMasterSecret())
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("creating master secret: %s exists already and is never overwritten: if its cluster is gone, move it away yourself", printable.Text(path))
	}
	if err != nil {
		return fmt.Errorf("creating master secret: %w", printable.Error(err))
	}
	_, err = fmt.Fprintf(out, "Your master secret was written to %s.\nKeep it safe, and keep a copy elsewhere: without it the cluster cannot be recovered.\n", printable.Text(path))
	return err
}

// newMasterSecret draws a secret in the form of the operators' file.
func newMasterSecret() []byte {
	var key, salt [keys.Size]byte
	_, _ = rand.Read(key[:]) // never fails, by its contract
	_, _ = rand.Read(salt[:])
	file, _ := json.MarshalIndent(map[string][]byte{"key": key[:], "salt": salt[:]}, "", "\t")
	return file
}
