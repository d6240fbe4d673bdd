// Command peer is the least that a build by BuildKit's own Go client takes: one
// process, one solve with a push, nothing around it. The benchmarks compare
// acrd build with it, on the same engine.
//
//	peer SOCKET FOLDER IMAGE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: peer SOCKET FOLDER IMAGE")
		os.Exit(2)
	}
	if err := build(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func build(ctx context.Context, socket, folder, image string) error {
	c, err := client.New(ctx, "unix://"+socket)
	if err != nil {
		return err
	}
	defer c.Close()
	fs, err := fsutil.NewFS(folder)
	if err != nil {
		return err
	}
	statuses := make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range statuses { // as a client without a display would
		}
	}()
	_, err = c.Solve(ctx, nil, client.SolveOpt{
		Frontend: "dockerfile.v0", LocalMounts: map[string]fsutil.FS{"context": fs, "dockerfile": fs},
		Exports: []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": image, "push": "true"}}},
	}, statuses)
	<-done
	return err
}
