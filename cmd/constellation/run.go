package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"disk-mapper/internal/argument"
	"disk-mapper/internal/printable"

	"github.com/spf13/cobra"
)

// run executes the command line args. What scripts may read goes to stdout,
// what is meant for the person at the terminal to stderr. An error is returned,
// not printed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return execute(ctx, args, stdout, stderr, operatorPace)
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer, speed pace) error {
	root := rootCommand(speed)
	root.SetArgs(args)
	root.SetOut(printable.Writer{Writer: stdout})
	root.SetErr(printable.Writer{Writer: stderr})
	return root.ExecuteContext(ctx)
}

func rootCommand(speed pace) *cobra.Command {
	root := &cobra.Command{
		Use:   "constellation",
		Short: "Recover the nodes of a cluster of confidential VMs",
		Long: `constellation recovers the nodes of a cluster of confidential VMs.

The state disk of each node is encrypted. Its key is derived from the cluster's
master secret, a small file that only you have. Make it with
"constellation mastersecret create", use it with "constellation recover".`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	var files workspace
	root.PersistentFlags().VarP(argument.NewWord(&files.dir, ""), "workspace", "C", "look for all files in this `DIRECTORY` (default: the current one)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nSee %q", printable.Error(err), cmd.CommandPath()+" --help")
	})
	root.AddCommand(recoverCommand(&files, speed), masterSecretCommand(&files))
	return root
}

// workspace is the directory that holds the files of one cluster.
type workspace struct{ dir string }

// path says where a file is that was named without regard to the workspace.
func (w workspace) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(w.dir, file)
}
