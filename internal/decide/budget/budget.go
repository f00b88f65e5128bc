// Package budget keeps the ledger of one daemon's disk: what a reading of the
// file system says is used, what was promised to work that runs, and what may
// be used at most.
//
// All sizes are bytes. A ledger is pure: the same readings and promises, in the
// same order, lead to the same answers. It is not for concurrent use.
package budget

import "math"

// Unlimited is the allowance of a ledger that knows no limit.
const Unlimited = int64(math.MaxInt64)

// Rule says how much a daemon may hold. The zero value is no limit.
type Rule struct {
	// Bytes is the most that the daemon may hold; 0 means no such limit.
	Bytes int64
	// Share is the same as a share of the file system, above 0 up to 1; 0 means
	// no such limit.
	Share float64
	// LeaveFree are bytes of the file system that stay free.
	LeaveFree int64
	// Records says that readings are sums of what a daemon says that it keeps, as
	// its file system cannot be read: more of a limit is kept back.
	Records bool
}

// Reading is what a file system says of itself. Free is what can be written,
// which may be less than Total - Used.
type Reading struct{ Used, Free, Total int64 }

// Ledger is the account of one file system. Use [New].
//
// A reading does not say who wrote what, so the ledger keeps a level: no less
// than what is used beside the bytes that promised work has taken so far. What
// is above the level is taken off the promises, as it is on the disk already.
// Whatever is not known errs towards a higher level, and so towards less room:
// work that ended is thought to have taken all that it was promised.
type Ledger struct {
	rule     Rule
	others   int64 // bytes in the first reading that were not the daemon's
	reading  Reading
	promises map[string]int64
	given    int64 // sum of the promises
	unread   int64 // sum of those that were settled since the last reading
	level    int64
	peak     int64
}

// New opens a ledger with a first reading, of which the daemon held holds.
// Whatever else is used then is other people's and no part of Rule.Bytes.
// What others write later counts like the daemon's own bytes: the file system
// cannot tell them apart.
func New(rule Rule, first Reading, holds int64) *Ledger {
	return &Ledger{
		rule: rule, others: max(first.Used-max(holds, 0), 0), reading: first,
		promises: map[string]int64{}, level: first.Used, peak: first.Used,
	}
}

const (
	// guard is the part of a limit that is kept back for what happens between two
	// readings, and for what the file system itself needs.
	guard = 0.03
	// floor is that part where readings are sums of records. These leave out what
	// is being fetched and the daemon's own tables, and come seldom.
	floor = 0.1
)

// keep is what a limit leaves when the guard, or the floor, is taken off.
func (r Rule) keep(limit int64) int64 { return limit - int64(r.back()*float64(limit)) }

// back is the part of a limit that is kept back.
func (r Rule) back() float64 {
	if r.Records {
		return floor
	}
	return guard
}

// Enough is the smallest Bytes of such a rule that let a daemon hold n bytes.
func (r Rule) Enough(n int64) int64 {
	if n <= 0 {
		return 0
	}
	limit := int64(float64(n) / (1 - r.back()))
	for r.keep(limit) < n {
		limit++
	}
	for r.keep(limit-1) >= n {
		limit--
	}
	return limit
}

// Allowance is what the daemon may hold by the rule alone, with the guard or the
// floor taken off; [Unlimited] without a rule.
func (l *Ledger) Allowance() int64 {
	limit := Unlimited
	if l.rule.Bytes > 0 {
		limit = l.rule.Bytes
	}
	if l.rule.Share > 0 {
		limit = min(limit, int64(l.rule.Share*float64(l.reading.Total)))
	}
	if limit == Unlimited {
		return limit
	}
	return l.rule.keep(limit)
}

// Most is what the daemon could hold by the rule if nobody else used the file
// system.
func (l *Ledger) Most() int64 { return min(l.Allowance(), l.reading.Total-l.rule.LeaveFree) }

// Ceiling is the reading that must not be passed: the rule's, or that at which
// only LeaveFree bytes are left, whichever is lower.
func (l *Ledger) Ceiling() int64 {
	ceiling := l.reading.Used + l.reading.Free - l.rule.LeaveFree
	if a := l.Allowance(); a < Unlimited-l.others {
		ceiling = min(ceiling, l.others+a)
	}
	return ceiling
}

// Room is what can still be promised; below zero when the ceiling is passed or
// would be, were every promise taken up.
func (l *Ledger) Room() int64 { return l.Ceiling() - l.reading.Used - l.Promised() }

// Fits tells whether n more bytes can be promised.
func (l *Ledger) Fits(n int64) bool { return n <= l.Room() }

// Over tells whether the last reading is above the ceiling.
func (l *Ledger) Over() bool { return l.reading.Used > l.Ceiling() }

// Used is the last reading.
func (l *Ledger) Used() int64 { return l.reading.Used }

// Holds is the last reading without what others had at first.
func (l *Ledger) Holds() int64 { return l.reading.Used - l.others }

// Others is the part of the first reading that was not the daemon's.
func (l *Ledger) Others() int64 { return l.others }

// Peak is the highest reading.
func (l *Ledger) Peak() int64 { return l.peak }

// Promised is what promised work may still take, or took since the last reading.
func (l *Ledger) Promised() int64 {
	return l.given + l.unread - min(max(l.reading.Used-l.level, 0), l.given+l.unread)
}

// Stale tells whether a promise was settled since the last reading: the next one
// may tell of more room.
func (l *Ledger) Stale() bool { return l.unread > 0 }

// Promise sets n bytes aside for id, on top of what id has.
func (l *Ledger) Promise(id string, n int64) {
	if len(l.promises) == 0 && l.unread == 0 {
		l.level = max(l.level, l.reading.Used)
	}
	l.promises[id] += n
	l.given += n
}

// Settle ends the promise to id: what it took is in the next reading, and until
// then set aside.
func (l *Ledger) Settle(id string) {
	n := l.promises[id]
	delete(l.promises, id)
	l.given -= n
	l.unread += n
}

// Read takes a reading.
func (l *Ledger) Read(r Reading) {
	l.reading = r
	l.level = min(l.level+l.unread, r.Used)
	l.unread = 0
	l.peak = max(l.peak, r.Used)
}
