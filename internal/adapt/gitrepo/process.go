package gitrepo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os/exec"
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// process is a git command that answers one question after the other. It is
// started when it is first asked, and again after a question went wrong. It is
// safe for concurrent use.
type process struct {
	command command
	name    string // of the repository

	mu     sync.Mutex
	closed bool
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errs   *tail
}

// ask writes a question and lets read take the answer, no more and no less. The
// question must fit into a pipe.
func (p *process) ask(ctx context.Context, question string, read func(*bufio.Reader) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	op := "git repository " + p.name
	if p.closed {
		return diag.Errorf(diag.Internal, "", "%s: asked after it was closed", op)
	}
	if err := ctx.Err(); err != nil {
		return wrap(ctx, op, err)
	}
	if err := p.start(); err != nil {
		return wrap(ctx, op, err)
	}
	kill := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	_, err := io.WriteString(p.in, question)
	if err == nil {
		err = read(p.out)
	}
	if kill() && err == nil {
		return nil
	}
	if ended := p.stop(); err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.Join(ended, io.ErrUnexpectedEOF)
	}
	return wrap(ctx, op, err)
}

func (p *process) start() error {
	if p.cmd != nil {
		return nil
	}
	// The process outlives the question that it was started for.
	cmd := p.command.prepared(context.Background())
	p.errs = &tail{}
	cmd.Stderr = p.errs
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return p.command.failure(err, p.errs)
	}
	p.cmd, p.in, p.out = cmd, in, bufio.NewReaderSize(out, 64<<10)
	return nil
}

// stop ends the process; the error is what it ended with.
func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	err := p.command.failure(p.cmd.Wait(), p.errs)
	p.cmd = nil
	return err
}

// close ends the process for good.
func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	_ = p.stop() // it was killed
}
