package budget_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lapstrake/lapstrake/internal/decide/budget"
)

// reading is of a disk of 1000 bytes of which 50 are kept from users.
func reading(used int64) budget.Reading {
	return budget.Reading{Used: used, Free: 950 - used, Total: 1000}
}

func TestCeiling(t *testing.T) {
	tests := []struct {
		name             string
		rule             budget.Rule
		used, holds      int64
		ceiling, allowed int64
	}{
		{"no rule", budget.Rule{}, 100, 0, 950, budget.Unlimited},
		{"bytes", budget.Rule{Bytes: 100}, 0, 0, 97, 97},
		{"bytes beside others", budget.Rule{Bytes: 100}, 300, 0, 397, 97},
		{"bytes with what the daemon had", budget.Rule{Bytes: 100}, 300, 60, 337, 97},
		{"the daemon cannot hold more than is used", budget.Rule{Bytes: 100}, 300, 400, 97, 97},
		{"a daemon that says less than nothing", budget.Rule{Bytes: 100}, 300, -1, 397, 97},
		{"bytes of records", budget.Rule{Bytes: 100, Records: true}, 60, 60, 90, 90},
		{"share", budget.Rule{Share: 0.5}, 0, 0, 485, 485},
		{"bytes above the disk", budget.Rule{Bytes: 5000}, 0, 0, 950, 4850},
		{"leave free", budget.Rule{LeaveFree: 200}, 0, 0, 750, budget.Unlimited},
		{"the tightest counts", budget.Rule{Bytes: 900, Share: 0.5, LeaveFree: 500}, 0, 0, 450, 485},
		{"the largest number of bytes", budget.Rule{Bytes: budget.Unlimited - 1}, 100, 0, 950, budget.Unlimited - 1 - 276701161105643264},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := budget.New(tt.rule, reading(tt.used), tt.holds)
			if diff := cmp.Diff([]int64{tt.ceiling, tt.allowed}, []int64{l.Ceiling(), l.Allowance()}); diff != "" {
				t.Errorf("ceiling and allowance (-want +got):\n%s", diff)
			}
		})
	}
}

// A step of a table test: a promise, a settling or a reading.
type move struct {
	promise, settle string
	n               int64
	read            int64
	room            int64 // afterwards
}

func TestRoom(t *testing.T) {
	tests := []struct {
		name  string
		moves []move
	}{
		{"what is written is not set aside as well", []move{
			{promise: "a", n: 40, room: 60}, {read: 30, room: 60}, {read: 40, room: 60}, {settle: "a", room: 60}, {read: 40, room: 60},
		}},
		{"more than was promised takes room", []move{
			{promise: "a", n: 40, room: 60}, {read: 55, room: 45}, {settle: "a", room: 45},
		}},
		{"less than was promised gives room back when it ends", []move{
			{promise: "a", n: 40, room: 60}, {read: 10, room: 60}, {settle: "a", room: 60}, {read: 10, room: 90},
		}},
		{"growth of unequal parts is not taken off the wrong promise", []move{
			// a wrote all 40; b may still take its 40.
			{promise: "a", n: 40, room: 60}, {promise: "b", n: 40, room: 20}, {read: 40, room: 20}, {settle: "a", room: 20},
			{read: 80, room: 20}, {settle: "b", room: 20},
		}},
		{"what comes and goes is counted once", []move{
			{promise: "a", n: 40, room: 60}, {read: 30, room: 60}, {read: 5, room: 60}, {read: 30, room: 60}, {read: 5, room: 60},
		}},
		{"a release gives nothing back to promises", []move{
			{promise: "a", n: 40, room: 60}, {read: 40, room: 60}, {settle: "a", room: 60},
			{promise: "b", n: 40, room: 20}, {read: 50, room: 20}, {read: 10, room: 50}, {read: 40, room: 50},
		}},
		{"a second promise is added", []move{
			{promise: "a", n: 40, room: 60}, {promise: "a", n: 10, room: 50}, {settle: "a", room: 50}, {read: 0, room: 100},
		}},
		{"settling what has no promise", []move{{settle: "a", room: 100}}},
		{"the last bytes of one that ended are not the next one's", []move{
			{promise: "a", n: 40, room: 60}, {settle: "a", room: 60}, {promise: "b", n: 40, room: 20}, {read: 40, room: 20},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := budget.New(budget.Rule{LeaveFree: 850}, reading(0), 0)
			for i, m := range tt.moves {
				switch {
				case m.promise != "":
					l.Promise(m.promise, m.n)
				case m.settle != "":
					l.Settle(m.settle)
				default:
					l.Read(reading(m.read))
				}
				if got := l.Room(); got != m.room {
					t.Fatalf("room after move %d %+v: %d", i, m, got)
				}
				if l.Fits(m.room+1) || !l.Fits(m.room) {
					t.Fatalf("after move %d, what fits is not the room of %d", i, m.room)
				}
			}
		})
	}
}

func TestEnough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, rule := rapid.Int64Range(0, 1<<50).Draw(t, "n"), budget.Rule{Records: rapid.Bool().Draw(t, "records")}
		least := rule.Enough(n)
		allow := func(b int64) int64 {
			rule.Bytes = b
			return budget.New(rule, budget.Reading{}, 0).Allowance()
		}
		if n > 0 && allow(least) < n {
			t.Fatalf("%d bytes allow %d, not %d", least, allow(least), n)
		}
		if least > 1 && allow(least-1) >= n {
			t.Fatalf("%d bytes would do too", least-1)
		}
	})
}

// work is something that was promised n bytes and holds took of them.
type work struct {
	id      string
	n, took int64
}

// Whatever work does within its promises, and whenever the disk is read, the
// ceiling holds and the ledger sets aside what may still be taken.
func TestPropertyLedger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var kept, dead int64
		var open []*work
		used := func() int64 {
			n := kept + dead
			for _, w := range open {
				n += w.took
			}
			return n
		}
		disk := func() budget.Reading {
			return budget.Reading{Used: used(), Free: 1e6 - used(), Total: 1e6}
		}
		l := budget.New(budget.Rule{Bytes: 1000}, disk(), 0)
		for step := range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				w := &work{id: fmt.Sprint(step), n: rapid.Int64Range(0, 400).Draw(t, "promise")}
				if l.Fits(w.n) {
					l.Promise(w.id, w.n)
					open = append(open, w)
				}
			case 1, 2:
				if len(open) > 0 {
					w := open[rapid.IntRange(0, len(open)-1).Draw(t, "who")]
					w.took = rapid.Int64Range(0, w.n).Draw(t, "took")
				}
			case 3:
				if len(open) > 0 {
					i := rapid.IntRange(0, len(open)-1).Draw(t, "ends")
					dead += open[i].took
					l.Settle(open[i].id)
					open = slices.Delete(open, i, i+1)
				}
			case 4:
				dead = rapid.Int64Range(0, dead).Draw(t, "after release")
			case 5:
				l.Read(disk())
				var may int64
				for _, w := range open {
					may += w.n - w.took
				}
				if l.Promised() < may {
					t.Fatalf("%d bytes are set aside, and %d may still be taken", l.Promised(), may)
				}
			}
			if used() > l.Ceiling() {
				t.Fatalf("%d bytes are used, %d may be", used(), l.Ceiling())
			}
		}
	})
}
