package text

import (
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/decide/delta"
	"github.com/lapstrake/lapstrake/internal/decide/lineage"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// commits is a report with something of everything.
func commits() *lineage.Report {
	commit := func(digit, subject string) lineage.Commit {
		return lineage.Commit{Hash: strings.Repeat(digit, 40), Date: time.Unix(1700000000, 0).UTC(), Subject: subject}
	}
	at := func(line int) diag.Pos { return diag.Pos{File: "/src/fleet/docker/Dockerfile", Line: line} }
	apt := lineage.Change{
		Step: graph.Key{Stage: "final", Ordinal: 2, Text: "RUN apt-get update && apt-get install --yes --no-install-recommends git ripgrep tmux curl ca-certificates"},
		Kind: graph.KindExec, PerImage: true, Status: delta.Changed, Pos: at(14), Images: 500,
		Causes: []delta.Cause{{Kind: graph.FacetArgument, Name: "GIT_SHA", New: "<commit>", Pos: at(12)}, {Kind: graph.FacetUser, Old: "agent", New: "root", Pos: at(13)}},
	}
	files := lineage.Change{
		Step: graph.Key{Stage: "builder", Ordinal: 3, Text: "COPY . /src"}, Kind: graph.KindFile, Status: delta.Changed, Pos: at(5), Images: 500,
		Causes: []delta.Cause{{Kind: graph.FacetFiles, Name: ".", Old: "sha256:a", New: "sha256:b", Pos: at(5)}},
		Files:  []string{"src/agent.py", "src/call.py", "src/main.py", "src/name.py", "src/tool.py", "uv.lock"}, Locks: []string{"uv.lock"},
	}
	gone := lineage.Change{Step: graph.Key{Stage: "final", Ordinal: 7, Text: "RUN true"}, Kind: graph.KindExec, PerImage: true, Status: delta.Gone, Pos: at(20), Images: 3}
	moving := lineage.Moving{Change: apt, Inherit: lineage.Steps{PerImage: 4, Shared: 1}}
	from := commit("0", "start\x1b[31m")
	from.Name = "v1.0"
	back := commit("3", "Revert \"say which commit it is\"")
	back.Name = "v1.1"
	return &lineage.Report{
		From: &from, Commits: 4812, Distinct: 7, FromProblems: diag.List{{Code: diag.RecipeSyntax, Pos: at(1), Message: "unknown instruction: FORM"}},
		Counts: map[lineage.Verdict]int{lineage.Broken: 1, lineage.PerImage: 2, lineage.Content: 1, lineage.Renamed: 1, lineage.Inert: 4807},
		Entries: []lineage.Entry{
			{Commit: commit("1", "break it"), Finding: lineage.Finding{Verdict: lineage.Broken, Problems: diag.List{{Pos: at(3), Message: "unknown instruction: RAN"}}}},
			{Commit: commit("2", "say which commit it is"), Finding: lineage.Finding{Verdict: lineage.PerImage, Changes: []lineage.Change{apt, gone, files, files, files}, Inherit: moving.Inherit, Moves: []lineage.Moving{moving}}},
			{Commit: back, Back: strings.Repeat("0", 40), Finding: lineage.Finding{Verdict: lineage.PerImage, Refs: &lineage.RefChange{Bases: 500, Total: 500, Added: 1, Removed: 2, Old: "docker.io/a/b:1", New: "docker.io/a/b:2"}, Stops: []lineage.Moving{moving}}},
			{Commit: commit("4", "agent"), Merge: true, Finding: lineage.Finding{Verdict: lineage.Content, Changes: []lineage.Change{files}, Inert: []lineage.Factor{{Kind: "argument", Name: "NOBODY", Old: "a", New: "b"}}}},
			{Commit: commit("5", "another slug"), Finding: lineage.Finding{Verdict: lineage.Renamed, Refs: &lineage.RefChange{Renamed: 392, Total: 500, Old: "registry.example.com/cache:" + strings.Repeat("x", 60), New: "registry.example.com/cache:" + strings.Repeat("y", 60), Pos: diag.Pos{File: "/src/fleet/fleet.yaml", Line: 7}}}},
			{Commit: commit("6", "command"), Finding: lineage.Finding{Verdict: lineage.Config, Config: true}},
		},
		Inert:   []lineage.Quiet{{Commit: commit("7", "docs")}},
		Factors: []lineage.FactorCount{{Kind: "argument", Name: "NOBODY", Commits: 1}, {Kind: "lock file", Name: "web/package-lock.json", Commits: 41}},
		Moving:  []lineage.Moving{moving}, MovingRefs: 500, Refs: 1000, MovingConfig: true,
		Notes: []string{"the configs of 500 bases are not known: a stand-in takes their place; plan the fleet once, and they are"},
	}
}
