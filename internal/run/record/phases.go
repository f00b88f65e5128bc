package record

import (
	"sync"

	"github.com/lapstrake/lapstrake/internal/model/journal"
)

// The phases of an observed run. Exactly one of them goes on while the command
// runs.
const (
	phaseImages  = "images"  // at least one build runs
	phasePrune   = "prune"   // none does, and the daemon prunes
	phaseBetween = "between" // the command does something else
)

// phases says what the command's time goes to. It is safe for concurrent use.
type phases struct {
	log *log

	mu      sync.Mutex
	running int
	pruning int
	now     string // empty: the command does not run
}

// begin is called when the command is about to run, end when it has ended.
func (p *phases) begin() { p.change(func() { p.now = phaseBetween }) }
func (p *phases) end()   { p.change(func() { p.now = "" }) }

// built says that a build began, by 1, or ended, by -1; pruned the same of a
// prune.
func (p *phases) built(by int)  { p.change(func() { p.running += by }) }
func (p *phases) pruned(by int) { p.change(func() { p.pruning += by }) }

// change writes the end and the beginning of a phase when there is another one
// afterwards.
func (p *phases) change(what func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.now
	what()
	if p.now != "" {
		switch {
		case p.running > 0:
			p.now = phaseImages
		case p.pruning > 0:
			p.now = phasePrune
		default:
			p.now = phaseBetween
		}
	}
	if before == p.now {
		return
	}
	if before != "" {
		p.log.write(journal.PhaseEnded, "", journal.PhaseData{Phase: before})
	}
	if p.now != "" {
		p.log.write(journal.PhaseStarted, "", journal.PhaseData{Phase: p.now})
	}
}
