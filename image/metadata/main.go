// Metadata serves the qemu provider's metadata to nodes on this machine, from a JSON file:
//
//	{"Nodes": [{"Name": "control-plane-0", "ProviderID": "qemu:///hostname/control-plane-0", "Role": "ControlPlane",
//	            "VPCIP": "10.42.0.15"}], "Endpoint": "10.42.0.1"}
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"disk-mapper/internal/vmtest/metadata"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "metadata:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("metadata", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8080", "address to serve at; a guest of QEMU's user network sees it at 10.42.0.1")
	file := flags.String("network", "network.json", "JSON file with the nodes and the endpoint")
	if err := flags.Parse(args); err != nil {
		return err
	}
	network, err := load(*file)
	if err != nil {
		return fmt.Errorf("reading the network: %w", err)
	}
	network.Posts = os.Stdout
	return serve(ctx, &http.Server{Addr: *listen, Handler: network.Handler(), ReadHeaderTimeout: 5 * time.Second})
}

func load(path string) (metadata.Network, error) {
	file, err := os.Open(path)
	if err != nil {
		return metadata.Network{}, err
	}
	defer file.Close()
	var network metadata.Network
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&network); err != nil {
		return metadata.Network{}, fmt.Errorf("%s: %w", path, err)
	}
	return network, nil
}

func serve(ctx context.Context, server *http.Server) error {
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // ends ListenAndServe
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
