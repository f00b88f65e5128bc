package creds

import (
	"io"
	"os/exec"
	"time"
)

const killDelay = time.Second

// helper is a credential helper that ends with its context.
type helper exec.Cmd

// Output runs the helper. What it says on standard error is nobody's.
func (h *helper) Output() ([]byte, error) { return (*exec.Cmd)(h).Output() }

// Input sets what the helper reads.
func (h *helper) Input(in io.Reader) { h.Stdin = in }
