// Command lapstrake builds fleets of container images.
package main

import (
	"os"

	"github.com/lapstrake/lapstrake/internal/show/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
