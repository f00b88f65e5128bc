// Command gen makes test fleets from the command line, for the demo and the
// benchmark:
//
//	gen bases -host HOST [-n 500] [-seed 1] [-scale 1]    push base images
//	gen ids [-n 500]                                      print their ids
//	gen recipe -kind linked|mixed -dir DIR [-files 3000]  write a recipe
//	gen change -dir DIR [-nothing]                        change its source
//	gen registry -root DIR [-addr 127.0.0.1:5055]         serve a registry
//
// The registry prints its counts of requests as one line of JSON on SIGUSR1;
// on SIGUSR2 it does so and starts counting anew.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lapstrake/lapstrake/internal/adapt/localregistry"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

const usage = "usage: gen bases|ids|recipe|change|registry [flags]; -h after one of them lists its flags"

// defaultHost is where the registry serves unless told otherwise, and where
// everything else looks for it.
const defaultHost = "127.0.0.1:5055"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil || err == flag.ErrHelp {
		return
	}
	fmt.Fprintln(os.Stderr, "gen:", err)
	if help := diag.HelpOf(err); help != "" {
		fmt.Fprintln(os.Stderr, "gen: help:", help)
	}
	stop()
	os.Exit(1)
}

// run carries out one command.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%s", usage)
	}
	fs := flag.NewFlagSet("gen "+args[0], flag.ContinueOnError)
	fs.SetOutput(stderr)
	var do func() error
	switch args[0] {
	case "bases":
		do = bases(ctx, fs, stdout)
	case "ids":
		n := fs.Int("n", 500, "number of ids")
		do = func() error { return ids(*n, stdout) }
	case "recipe":
		do = recipe(fs)
	case "change":
		dir := fs.String("dir", "", "folder of the recipe")
		nothing := fs.Bool("nothing", false, "change a file that no image holds")
		do = func() error {
			if *nothing {
				return testfleet.ChangeNothing(*dir)
			}
			return testfleet.Change(*dir)
		}
	case "registry":
		do = registry(ctx, fs, stdout, stderr)
	default:
		return fmt.Errorf("unknown command %q\n%s", args[0], usage)
	}
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", args[0], fs.Arg(0))
	}
	return do()
}

// bases pushes base images.
func bases(ctx context.Context, fs *flag.FlagSet, stdout io.Writer) func() error {
	o := testfleet.Options{}
	fs.StringVar(&o.Host, "host", defaultHost, "registry, host:port")
	fs.IntVar(&o.N, "n", 500, "number of bases")
	fs.Int64Var(&o.Seed, "seed", 1, "chooses the content")
	fs.Float64Var(&o.Scale, "scale", 1, "multiplies the sizes of layers")
	fs.BoolVar(&o.Envs, "envs", true, "put a layer for each environment between system and instance")
	fs.StringVar(&o.Arch, "arch", "", "architecture; empty is the machine's")
	fs.StringVar(&o.OSTree, "os-tree", "", "folder with a root file system, instead of busybox")
	fs.IntVar(&o.Docker, "docker", 0, "number of images with Docker media types")
	fs.IntVar(&o.Index, "index", 0, "number of images behind an index")
	fs.IntVar(&o.Zstd, "zstd", 0, "number of images with a zstd layer")
	fs.IntVar(&o.Jobs, "jobs", 0, "images pushed at once; 0 is the default")
	return func() error {
		set, err := testfleet.Bases(ctx, o)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%d bases of %d distinct layers on %s\n", len(set.Images), len(set.Layers()), o.Host)
		return nil
	}
}

// ids prints ids, one a line.
func ids(n int, stdout io.Writer) error {
	if n < 0 {
		return fmt.Errorf("ids: negative number")
	}
	for _, id := range testfleet.IDs(n) {
		fmt.Fprintln(stdout, id)
	}
	return nil
}

// recipe writes a recipe.
func recipe(fs *flag.FlagSet) func() error {
	o := testfleet.RecipeOptions{}
	fs.StringVar(&o.Kind, "kind", "linked", "linked or mixed")
	fs.StringVar(&o.Dir, "dir", "", "folder to write; it must be empty or missing")
	fs.StringVar(&o.Host, "host", defaultHost, "registry that has the builder's base")
	fs.IntVar(&o.Files, "files", 3000, "number of files of the agent's source")
	fs.Int64Var(&o.Bytes, "bytes", 0, "their size together; 0 is 2 KiB a file")
	fs.Int64Var(&o.Seed, "seed", 1, "chooses the content")
	return func() error {
		if o.Dir == "" {
			return fmt.Errorf("recipe: no -dir given")
		}
		return testfleet.Recipe(o)
	}
}

// registry serves until the context ends.
func registry(ctx context.Context, fs *flag.FlagSet, stdout, stderr io.Writer) func() error {
	o := localregistry.Options{Log: stderr}
	fs.StringVar(&o.Root, "root", "", "folder of the registry")
	fs.StringVar(&o.Addr, "addr", defaultHost, "loopback address, host:port; port 0 takes a free one")
	fs.BoolVar(&o.Durable, "durable", false, "wait for the disk at every write")
	quiet := fs.Bool("quiet", false, "do not log what clients do wrong")
	return func() error {
		if *quiet {
			o.Log = nil
		}
		// Before the first line is printed: who reads it may signal at once.
		signals := make(chan os.Signal, 8)
		signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
		defer signal.Stop(signals)
		r, err := localregistry.Start(ctx, o)
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, r.Host())
		for {
			select {
			case s := <-signals:
				counts := r.Requests()
				if s == syscall.SIGUSR2 {
					r.Reset()
				}
				if err := json.NewEncoder(stdout).Encode(counts); err != nil {
					return err
				}
			case <-ctx.Done():
				end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				defer cancel()
				return r.Stop(end)
			}
		}
	}
}
