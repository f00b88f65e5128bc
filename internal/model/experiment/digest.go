package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Digest is over what trials do: what is built, the knobs, the factors with their levels'
// values, and the levels, temperature and seed of every setting. It depends on no
// order. What is asked of the trials (claims, gates, waivers, replicates, the
// budget) is no part of it: asking again, or more often, must not make other
// trials of those that ran.
func (e *Experiment) Digest() graph.Digest {
	type factor struct {
		Kind           Kind
		Source, Target string
		Levels         map[string]string
	}
	type cell struct {
		Levels Levels `json:",omitempty"`
		Seed   Levels `json:",omitempty"`
	}
	spec := struct {
		V       int
		Fleet   string
		Command []string
		Knobs   map[string]string `json:",omitempty"`
		Factors map[string]factor
		Cells   map[string]cell
	}{1, e.Fleet, e.Command, e.Knobs, map[string]factor{}, map[string]cell{}}
	for _, f := range e.Factors {
		levels := map[string]string{}
		for _, l := range f.Levels {
			levels[l.Name] = l.Value
			if l.Content != "" { // wherever the file is
				levels[l.Name] = string(l.Content)
			}
		}
		spec.Factors[f.Name] = factor{f.Kind, f.Source, f.Target, levels}
	}
	for _, c := range e.Cells {
		var seed Levels
		if c.Seed != "" {
			seed = e.Setting(c.Seed)
		}
		spec.Cells[c.ID()] = cell{c.Levels, seed}
	}
	data, err := json.Marshal(spec) // maps in the order of their keys
	if err != nil {
		panic(err) // strings and maps of strings
	}
	sum := sha256.Sum256(data)
	return graph.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// TrialID names the nth trial of a cell, from 1: twelve digits of the
// experiment's digest, the cell and "rN". It does not end in a dash and digits,
// which benchstat takes for a number of processors.
func TrialID(of graph.Digest, c Cell, n int) string {
	const digits = len("sha256:") + 12
	return fmt.Sprintf("%s/%s/r%d", of[len("sha256:"):min(digits, len(of))], c.ID(), n)
}
