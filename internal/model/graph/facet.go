package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// FacetKind is a part of what a step does, in the words of people who ask what
// changed.
type FacetKind string

// The kinds of facet, in the order in which a change is blamed on them: what
// says most about a change comes first.
const (
	FacetSource      FacetKind = "source"      // what a source step reads: a reference with its digest, a URL
	FacetPlatform    FacetKind = "platform"    // os/arch that the step runs for
	FacetInstruction FacetKind = "instruction" // the Dockerfile's own text
	FacetArgument    FacetKind = "argument"    // the value of an ARG that the step sees
	FacetEnvironment FacetKind = "environment" // the value of a variable that the step sees
	FacetUser        FacetKind = "user"        // who runs a command
	FacetWorkdir     FacetKind = "workdir"     // where a command runs
	FacetNetwork     FacetKind = "network"     // what network a command has
	FacetMount       FacetKind = "mount"       // a mount of a command, by its target
	FacetCommand     FacetKind = "command"     // what the instruction came to: the command, or the paths
	FacetFiles       FacetKind = "files"       // the content of local files; see [Files]
	FacetInput       FacetKind = "input"       // which step it rests on
	FacetOption      FacetKind = "option"      // anything else
)

// Blame is the place of a kind in that order; kinds that are not known come last.
// Arguments and variables have one place, as their order is that of a step's
// environment.
func Blame(k FacetKind) int {
	order := [][]FacetKind{
		{FacetSource}, {FacetPlatform}, {FacetInstruction}, {FacetArgument, FacetEnvironment}, {FacetUser},
		{FacetWorkdir}, {FacetNetwork}, {FacetMount}, {FacetCommand}, {FacetFiles}, {FacetInput}, {FacetOption},
	}
	for i, kinds := range order {
		if slices.Contains(kinds, k) {
			return i
		}
	}
	return len(order)
}

// Facet is one part of what a step does. Two steps that differ in what they do
// themselves differ in a facet, or else in something that no facet tells.
type Facet struct {
	Kind FacetKind `json:"kind"`
	// Name tells facets of one kind apart: a variable's name, a mount's target.
	Name string `json:"name,omitempty"`
	// Value of a variable that may be a secret is a digest of it.
	Value string `json:"value,omitempty"`
	// Pos is where the value is declared when that is not the step's own line.
	Pos diag.Pos `json:"pos,omitzero"`
}

// Sensitive tells whether a variable of this name may hold a secret.
func Sensitive(name string) bool {
	name = strings.ToUpper(name)
	for _, word := range []string{"TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "APIKEY", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// Masked is a variable's value, or a digest of it when it may be a secret.
func Masked(name, value string) string {
	if value == "" || !Sensitive(name) {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// Runs lists the platforms whose programs the steps of g run, sorted; with steps
// given, these and what they need.
func (g *Graph) Runs(steps ...Digest) []string {
	needed := map[Digest]bool{}
	for _, d := range steps {
		needed[d] = true
	}
	var out []string
	for i := len(g.Steps) - 1; i >= 0; i-- { // inputs come before what needs them
		s := &g.Steps[i]
		if len(steps) > 0 && !needed[s.Digest] {
			continue
		}
		for _, in := range s.Inputs {
			needed[in] = true
		}
		if s.Kind != KindExec {
			continue
		}
		for _, f := range s.Facets {
			if f.Kind == FacetPlatform && !slices.Contains(out, f.Value) {
				out = append(out, f.Value)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Files gives the digests of what the steps of a graph read from local
// contexts, by step and in the order of its Uses.
type Files map[Digest][]Digest

// Fingerprints gives each step a digest over all that decides what it makes: what
// it does itself, the files that it reads, and the fingerprints of its inputs.
// Unlike a step's Digest it does not depend on files of a context that no step
// reads. Steps whose files are not given count as reading nothing.
func (g *Graph) Fingerprints(files Files) map[Digest]Digest {
	out := make(map[Digest]Digest, len(g.Steps))
	for _, s := range g.Steps {
		h := sha256.New()
		fmt.Fprintf(h, "%s\n", s.Own)
		for _, f := range files[s.Digest] {
			fmt.Fprintf(h, "files %s\n", f)
		}
		for _, in := range s.Inputs {
			fmt.Fprintf(h, "input %s\n", out[in])
		}
		out[s.Digest] = Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	}
	return out
}
