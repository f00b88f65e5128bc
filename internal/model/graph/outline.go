package graph

import (
	"regexp"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Outline is a Dockerfile as it is written: its instructions in order.
type Outline struct {
	Stages       []Stage       `json:"stages"`
	Instructions []Instruction `json:"instructions"`
}

// Stage is a FROM section.
type Stage struct {
	// Name is the stage's own name in lower case, or its number.
	Name string `json:"name"`
	// Parent is the index of the stage that it is built on, -1 for an image.
	Parent int `json:"parent"`
	// From is what FROM names, as it is written.
	From string `json:"from"`
}

// Instruction is one instruction of a Dockerfile.
type Instruction struct {
	// Stage is the index of its stage, -1 before the first FROM. FROM belongs to
	// the stage that it begins.
	Stage int `json:"stage"`
	// Pos is its first line, End its last.
	Pos diag.Pos `json:"pos"`
	End int      `json:"end"`
	// Word is the instruction in upper case, Text all of it with every run of
	// spaces and every continued line as one space.
	Word string `json:"word"`
	Text string `json:"text"`
	// Flags are those that begin with two dashes, as they are written.
	Flags []string `json:"flags,omitempty"`
	// Declares are the variables that an ARG or ENV declares.
	Declares []Variable `json:"declares,omitempty"`
}

// Variable is one variable of an ARG or ENV.
type Variable struct {
	Name string `json:"name"`
	// Value is as it is written; nil for an ARG without a default.
	Value *string `json:"value,omitempty"`
}

// At is the instruction that a line belongs to; nil when there is none.
func (o *Outline) At(line int) *Instruction {
	for i := range o.Instructions {
		if in := &o.Instructions[i]; in.Pos.Line <= line && line <= in.End {
			return in
		}
	}
	return nil
}

// Declared is where a variable gets the value that an instruction sees: the last
// ARG or ENV of that name above it, in its stage or in those that the stage is
// built on. Nil when there is none: the variable is the base's, or predefined.
func (o *Outline) Declared(name string, before *Instruction) *Instruction {
	return o.above(before, func(in *Instruction) bool { return in.declares(name) })
}

// Last is the last instruction of a word, such as USER, above another one, in its
// stage or in those that the stage is built on. Nil when there is none.
func (o *Outline) Last(word string, before *Instruction) *Instruction {
	return o.above(before, func(in *Instruction) bool { return in.Word == word })
}

func (o *Outline) above(before *Instruction, is func(*Instruction) bool) *Instruction {
	stage, line := before.Stage, before.Pos.Line
	for range o.Stages {
		for i := len(o.Instructions) - 1; i >= 0; i-- {
			in := &o.Instructions[i]
			if in.Stage == stage && in.Pos.Line < line && is(in) {
				return in
			}
		}
		if stage < 0 || o.Stages[stage].Parent < 0 {
			return nil
		}
		stage, line = o.Stages[stage].Parent, before.Pos.Line
	}
	return nil
}

func (in *Instruction) declares(name string) bool {
	for _, v := range in.Declares {
		if v.Name == name {
			return true
		}
	}
	return false
}

// Base is what the image that a Dockerfile makes is built on.
type Base struct {
	// From is what the FROM names, as it is written, and Pos its place.
	From string
	Pos  diag.Pos
	// Arg is the build argument whose whole value FROM takes; "" when it takes none.
	Arg string
	// Standard is the value of Arg when a build gives none; "" when it has none.
	Standard string
	// Stages are the names of the stages that the image goes through, the target's
	// first.
	Stages []string
}

// whole is a FROM that is one variable, with or without a default.
var whole = regexp.MustCompile(`^\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})$`)

// Base follows the stages from target, a name or number in any case or "" for the
// last, to the image that they begin with. Args are those of the build: defaults
// may use them. ok is false when there is no such stage.
func (o *Outline) Base(target string, args map[string]string) (base Base, ok bool) {
	at := len(o.Stages) - 1
	if target != "" {
		at = slices.IndexFunc(o.Stages, func(s Stage) bool { return s.Name == strings.ToLower(target) })
	}
	if at < 0 {
		return Base{}, false
	}
	base.Stages = []string{o.Stages[at].Name}
	for o.Stages[at].Parent >= 0 {
		at = o.Stages[at].Parent
		base.Stages = append(base.Stages, o.Stages[at].Name)
	}
	base.From = o.Stages[at].From
	for _, in := range o.Instructions {
		if in.Stage == at && in.Word == "FROM" {
			base.Pos = in.Pos
		}
	}
	if m := whole.FindStringSubmatch(base.From); m != nil {
		base.Arg, base.Standard = m[1]+m[2], m[3]
		if s := o.standards(args)[base.Arg]; s != "" {
			base.Standard = s
		}
	}
	return base, true
}

var variable = regexp.MustCompile(`\$(?:(\w+)|\{(\w+)\})`)

// standards are the arguments before the first FROM with their defaults, in which
// plain variables are replaced.
func (o *Outline) standards(args map[string]string) map[string]string {
	out := map[string]string{}
	for _, in := range o.Instructions {
		if in.Stage >= 0 || in.Word != "ARG" {
			continue
		}
		for _, v := range in.Declares {
			if given, ok := args[v.Name]; ok {
				out[v.Name] = given
			} else if v.Value != nil {
				out[v.Name] = variable.ReplaceAllStringFunc(*v.Value, func(s string) string { return out[strings.Trim(s, "${}")] })
			}
		}
	}
	return out
}
