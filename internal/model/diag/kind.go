package diag

import (
	"context"
	"errors"
	"fmt"
)

// Kind says whose problem a failure is. The zero value is [Internal]: an error
// that nobody classified is our own fault.
type Kind int

// The kinds, in the order of the exit-code table.
const (
	Internal    Kind = iota // our own fault
	Usage                   // the command line
	Step                    // a step of a recipe failed, so an image did
	File                    // a file that a person wrote is wrong
	Infeasible              // no schedule fits the budget
	Infra                   // daemon, registry or disk
	Gate                    // a gate, lint rule, plan limit or verification failed
	Undecided               // a gate could not be decided
	Evidence                // the evidence is not valid
	Interrupted             // stopped or out of time; the same command resumes
)

// kinds is the one table from kinds to exit codes; help prints it.
var kinds = [...]struct {
	code int
	name string
	text string
}{
	Internal:    {1, "internal", "our own fault"},
	Usage:       {2, "usage", "wrong command line"},
	Step:        {3, "step", "some images failed"},
	File:        {4, "file", "a file is wrong"},
	Infeasible:  {5, "infeasible", "no schedule fits the budget"},
	Infra:       {6, "infrastructure", "daemon, registry or disk"},
	Gate:        {7, "gate", "a gate, lint rule, plan limit or verification failed"},
	Undecided:   {8, "undecided", "a gate is undecided"},
	Evidence:    {9, "evidence", "evidence invalid"},
	Interrupted: {130, "interrupted", "interrupted or out of time, resumable"},
}

// Kinds lists every kind in the order of its exit code.
func Kinds() []Kind {
	return []Kind{Internal, Usage, Step, File, Infeasible, Infra, Gate, Undecided, Evidence, Interrupted}
}

// ExitCode is the exit code of a program that stops because of k.
func (k Kind) ExitCode() int { return kinds[k].code }

// String is the kind's name as journals and JSON carry it.
func (k Kind) String() string { return kinds[k].name }

// Describe says in a few words what the kind means; help prints it.
func (k Kind) Describe() string { return kinds[k].text }

// precedence lists the kinds that win when several failures end one run, the
// strongest first.
var precedence = []Kind{Interrupted, Internal, Evidence, Infra, Gate, Undecided, Step}

// Worst returns the kind that decides the exit code when a run ended with both
// a and b. Kinds outside the precedence list stop a run at once and win.
func Worst(a, b Kind) Kind {
	rank := func(k Kind) int {
		for i, p := range precedence {
			if p == k {
				return i
			}
		}
		return -1
	}
	if rank(b) < rank(a) {
		return b
	}
	return a
}

// Error is a failure with its kind. Op says what was being done and to what
// ("push docker.io/a/b:c"), Help what to do about it.
type Error struct {
	Kind Kind
	Op   string
	Help string
	Err  error
}

// Error renders "op: cause".
func (e *Error) Error() string {
	switch {
	case e.Op == "":
		return e.Err.Error()
	case e.Err == nil:
		return e.Op
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of kind k. The format may wrap a cause with %w.
func Errorf(k Kind, help, format string, args ...any) error {
	return &Error{Kind: k, Help: help, Err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind and an operation; nil stays nil.
func Wrap(k Kind, op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Op: op, Err: err}
}

// KindOf returns the kind of the outermost classified error in err's chain.
// Cancelled contexts are [Interrupted], a [List] is [File], and anything else
// unclassified is [Internal].
func KindOf(err error) Kind {
	var e *Error
	var l List
	var p Problem
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.As(err, &l), errors.As(err, &p):
		return File
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Interrupted
	}
	return Internal
}

// HelpOf returns the help of the outermost error in err's chain that has one;
// of joined errors the first one's.
func HelpOf(err error) string {
	for err != nil {
		if e, ok := err.(*Error); ok && e.Help != "" {
			return e.Help
		}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				if help := HelpOf(e); help != "" {
					return help
				}
			}
			return ""
		}
		err = errors.Unwrap(err)
	}
	return ""
}
