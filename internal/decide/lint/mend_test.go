package lint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lapstrake/lapstrake/internal/decide/lint"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/plan"
	"github.com/lapstrake/lapstrake/internal/model/rule"
)

const head = "ARG BASE_IMAGE\nFROM docker.io/library/golang:1 AS builder\nRUN make /out\nFROM ${BASE_IMAGE} AS env\n"

const commitFleet = "recipe: {args: {GIT_SHA: 0a1b2c3}}\n" + standardFleet

// only is the one finding of a rule at the last place where it is.
func only(t *testing.T, in lint.Input, code string) lint.Finding {
	t.Helper()
	var out *lint.Finding
	for _, f := range lint.Check(in) {
		if f.Code == code && (out == nil || f.Pos.Line > out.Pos.Line) {
			out = &f
		}
	}
	if out == nil {
		t.Fatalf("no finding of %s", code)
	}
	return *out
}

// TestMend: what is changed, what that saves, and what is left as it is.
func TestMend(t *testing.T) {
	for _, tt := range []struct {
		name, code, last string
		want             string // the new end of the file; empty when it is left as it is
		before, after    int64
	}{
		{"a copy", plan.CopyWithoutLink, "COPY --from=builder /out /agent\n", "COPY --link --from=builder /out /agent\n", 3, 0},
		{"of the context", plan.CopyWithoutLink, "copy agent /agent/\n", "copy --link agent /agent/\n", 3, 0},
		{"before a command", plan.CopyWithoutLink, "COPY --from=builder /out /agent\nRUN x\n", "COPY --link --from=builder /out /agent\nRUN x\n", 6, 3},
		{"after a command", plan.CopyWithoutLink, "RUN x\nCOPY --from=builder /out /agent\n", "RUN x\nCOPY --link --from=builder /out /agent\n", 6, 3},
		{"over two lines", plan.CopyWithoutLink, "COPY --from=builder \\\n  /out /agent\n", "COPY --link --from=builder \\\n  /out /agent\n", 3, 0},
		{"an owner by number", plan.CopyWithoutLink, "COPY --chown=1:1 --from=builder /out /agent\n", "COPY --link --chown=1:1 --from=builder /out /agent\n", 3, 0},
		{"into a folder of the base", plan.CopyWithoutLink, "COPY --from=builder /out /etc/agent\n", "", 0, 0},
		{"through a symlink", plan.CopyWithoutLink, "COPY --from=builder /out /bin/agent\n", "", 0, 0},
		{"to the top", plan.CopyWithoutLink, "COPY --from=builder /out /\n", "", 0, 0},
		{"a mode", plan.CopyWithoutLink, "COPY --chmod=755 --from=builder /out /agent\n", "", 0, 0},
		{"link is off", plan.CopyWithoutLink, "COPY --link=false --from=builder /out /agent\n", "", 0, 0},
		{"the folder was made before", plan.CopyWithoutLink, "RUN install -d -o 1 /agent\nCOPY --from=builder /out /agent/bin\n", "", 0, 0},
		{"made in a stage below", plan.CopyWithoutLink, "RUN install -d -o 1 /agent\nFROM env\nCOPY --from=builder /out /agent/bin\n", "", 0, 0},
		{"relative to the base's folder", plan.CopyWithoutLink, "COPY --from=builder /out agent\n", "COPY --link --from=builder /out agent\n", 3, 0},

		{"a commit to the end", rule.ValueEarly, "ARG GIT_SHA\nRUN apt-get install git\n", "RUN apt-get install git\nARG GIT_SHA\n", 3, 0},
		{"to where it is used", rule.ValueEarly, "ARG GIT_SHA=none\nRUN apt-get install git\nLABEL a=b\nENV SHA=$GIT_SHA\nUSER 1\n", "RUN apt-get install git\nLABEL a=b\nARG GIT_SHA=none\nENV SHA=$GIT_SHA\nUSER 1\n", 3, 0},
		{"as far as it can", rule.ValueEarly, "ARG GIT_SHA\nRUN a\nRUN b $GIT_SHA\nRUN c\n", "RUN a\nARG GIT_SHA\nRUN b $GIT_SHA\nRUN c\n", 9, 6},
		{"without a line end", rule.ValueEarly, "ARG GIT_SHA\nRUN a", "RUN a\nARG GIT_SHA\n", 3, 0},
		{"within its stage", rule.ValueEarly, "ARG GIT_SHA\nRUN a\nFROM env\nRUN b\n", "RUN a\nARG GIT_SHA\nFROM env\nRUN b\n", 6, 3},
		{"used at once", rule.ValueEarly, "ARG GIT_SHA\nENV SHA=x$GIT_SHA\nRUN a\n", "", 0, 0},
		{"a script may use it", rule.ValueEarly, "ARG GIT_SHA\nRUN ./setup.sh\n", "", 0, 0},
		{"make may use it", rule.ValueEarly, "ARG GIT_SHA\nRUN cd /x && make install\n", "", 0, 0},
		{"two in one", rule.ValueEarly, "ARG GIT_SHA OTHER=1\nRUN a\n", "", 0, 0},
		{"declared again", rule.ValueEarly, "ARG GIT_SHA\nRUN a\nARG GIT_SHA\nRUN b $GIT_SHA\n", "", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := folder(t, head+tt.last, commitFleet)
			in := open(t, dir)
			f := only(t, in, tt.code)
			text, ok := lint.Mend(in, f)
			if ok != (tt.want != "") {
				t.Fatalf("mended is %v:\n%s", ok, text)
			}
			if !ok {
				return
			}
			if d := cmp.Diff(head+tt.want, text); d != "" {
				t.Error(d)
			}
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := lint.Prove(in, open(t, dir), f)
			if err != nil || p.Before != tt.before || p.After != tt.after {
				t.Errorf("proof %+v, %v; want %d -> %d", p, err, tt.before, tt.after)
			}
		})
	}
}

// TestMendLeavesWaived: what is accepted is not changed.
func TestMendLeavesWaived(t *testing.T) {
	in := open(t, folder(t, head+"COPY --from=builder /out /agent\n", standardFleet+"lint:\n  waivers: [{rule: copy-without-link, where: /agent, reason: known}]\n"))
	if text, ok := lint.Mend(in, only(t, in, plan.CopyWithoutLink)); ok {
		t.Errorf("mended:\n%s", text)
	}
}

// TestProveRefuses: a change that does more than it is for, or nothing, is no
// proof.
func TestProveRefuses(t *testing.T) {
	last := "ARG OTHER=0\nARG GIT_SHA\nRUN a\nCOPY --from=builder /out /agent\n"
	in := open(t, folder(t, head+last, commitFleet))
	for _, tt := range []struct{ name, code, last, want string }{
		{"nothing", plan.CopyWithoutLink, last, "6 executions would be 6"},
		{"nothing about a value", rule.ValueEarly, last, "3 executions would be 3"},
		{"another command", plan.CopyWithoutLink, "ARG OTHER=0\nARG GIT_SHA\nRUN b\nCOPY --link --from=builder /out /agent\n", "Dockerfile:7 RUN b would differ by its instruction"},
		{"another variable", rule.ValueEarly, "ARG OTHER=1\nRUN a\nCOPY --from=builder /out /agent\nARG GIT_SHA\n", "Dockerfile:6 RUN a would differ by its argument"},
		{"config", plan.CopyWithoutLink, "ARG OTHER=0\nARG GIT_SHA\nRUN a\nCOPY --link --from=builder /out /agent\nUSER 1\n", "the image's config would differ"},
		{"a step less", plan.CopyWithoutLink, "ARG OTHER=0\nARG GIT_SHA\n\nCOPY --link --from=builder /out /agent\n", "the image's history would differ"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := lint.Prove(in, open(t, folder(t, head+tt.last, commitFleet)), only(t, in, tt.code))
			if err == nil || diag.KindOf(err) != diag.Gate || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
