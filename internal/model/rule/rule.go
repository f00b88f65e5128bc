// Package rule holds the rules that lint checks a fleet by: their codes, what
// each is about, how much it weighs, and what to do. What they find is decided
// elsewhere; a fleet file names them by code.
package rule

import "github.com/lapstrake/lapstrake/internal/model/plan"

// Severity says how much a finding weighs.
type Severity string

// The severities, the gravest first. Off is that of a rule that is not looked at.
const (
	Error   Severity = "error"   // the program exits with the code of a failed gate
	Warning Severity = "warning" // it costs something, and may be meant
	Info    Severity = "info"    // worth knowing
	Off     Severity = "off"
)

// Grave orders severities: the gravest is 0, and an unknown one comes last.
func Grave(s Severity) int {
	for i, x := range []Severity{Error, Warning, Info, Off} {
		if s == x {
			return i
		}
	}
	return 4
}

// Rule is one thing that lint looks for.
type Rule struct {
	// Code is stable: scripts and fleet files name it. Where a plan gives the same
	// thing as a reason, the code is the reason's.
	Code string
	// Title says what is found: lower case, no full stop.
	Title string
	// Severity is what a finding weighs unless the fleet file says otherwise.
	Severity Severity
	// Fix says what to do, in one sentence without a full stop.
	Fix string
}

// The codes of rules that no plan gives as a reason.
const (
	ValueEarly     = "value-early"
	ContextEarly   = "context-early"
	SecretValue    = "secret-in-variable"
	ImageFloats    = "image-without-digest"
	BaseFloats     = "base-without-digest"
	ArgumentUnused = "argument-unused"
	ExtrasForAll   = "extras-for-all"
	TagAlone       = "tag-changes-alone"
	TagReserved    = "tag-reserved"
	TagsAlike      = "tags-alike"
	CacheInline    = "cache-per-image"
	CacheUnused    = "cache-unused"
	CacheMoved     = "cache-moved"
	PublishOver    = "publish-over-base"
	LinkSymlink    = "link-through-symlink"
	LinkExisting   = "link-into-existing"
	WaiverUnused   = "waiver-unused"
	WaiverExpired  = "waiver-expired"
)

// All lists every rule, those about steps first.
func All() []Rule {
	return []Rule{
		{plan.RunOnBase, "a RUN step runs on each base", Warning, "move what does not need the base into a stage of its own and copy the result with COPY --link; what needs it goes last"},
		{plan.CopyWithoutLink, "a COPY writes into each base: each is fetched and unpacked, and its layer made again", Error, "add --link, and the layer is made once for all"},
		{plan.AddOnBase, "an ADD writes into each base", Warning, "add --link, and its layer is made once"},
		{plan.LinkWithChmod, "--chmod undoes --link", Warning, "set the mode where the files are made, and leave --chmod out"},
		{plan.WorkdirOnBase, "a WORKDIR makes a folder on each base, which alone makes every image a build", Warning, "leave it out and use full paths, or copy an empty folder with COPY --link"},
		{plan.OnbuildOnBase, "a trigger (ONBUILD) of the base runs on each base", Warning, "use a base without"},
		{plan.CopyFromBase, "a file is copied from a stage that is built on the base", Warning, "copy from a stage that is not built on the base"},
		{plan.BaseNotFirst, "the base is not the lowest layer of the image", Warning, "begin the last stage with the base"},
		{plan.StepOnBase, "a step of another kind depends on each base", Warning, "move it into a stage of its own"},
		{ValueEarly, "a value that changes at every commit is declared before a step that does not use it, so that the step runs again at every commit", Error, "declare it below the last step that does not use it"},
		{ContextEarly, "the whole context is copied before steps that need only a part of it, so that every change of a file runs them again", Warning, "copy what the next step needs, run it, and copy the rest afterwards"},
		{SecretValue, "a secret is the value of an ARG or ENV, and stays in the image's history or config", Error, "use RUN --mount=type=secret and secrets: in the fleet file"},
		{plan.SourceUnpinned, "nothing pins what a URL or a git repository holds", Warning, "name a commit, or give ADD a --checksum"},
		{ImageFloats, "an image beside the base is named without a digest, so that it changes under the recipe", Warning, "write NAME:TAG@sha256:..."},
		{BaseFloats, "bases are named without a digest", Info, "that is what rebuilds images when a base moves; name digests where it must not"},
		{ArgumentUnused, "an argument reaches no step and no config", Warning, "declare it with ARG in the stage that needs it, or remove it"},
		{ExtrasForAll, "an argument that by its name lists extras reaches a stage on which several targets rest", Info, "if only one of the targets uses an extra, install it in the stage of that target"},
		{TagAlone, "a tag changes at every commit and the content does not, so that every image is tagged again", Warning, "leave the commit out of the tag; the content key tells what an image holds"},
		{TagReserved, "an image's tag is one that the program writes itself, or has the form of one", Error, "give it another name"},
		{TagsAlike, "tags of two images differ only in case", Warning, "make the template tell them apart in lower case"},
		{CacheInline, "each image carries or exports its own cache", Warning, "remove it; shared steps reach other workers by --cache, once for each content"},
		{CacheUnused, "nothing is ever written to the repository that --cache names", Warning, "leave --cache out: shared layers of images that are appended are in the images' own repositories"},
		{CacheMoved, "results of shared steps are looked for in another repository than earlier runs kept them in", Warning, "give --cache that repository, or accept that these steps run once more"},
		{PublishOver, "an image is published over a base of the fleet, or over an image that the recipe reads, so that the next build starts from its own result", Error, "publish under another name"},
		{LinkSymlink, "a linked copy goes where bases by their usual names have a symlink, which it would replace by a folder", Info, "look at a base, and copy to where the symlink leads, like /usr/bin for /bin"},
		{LinkExisting, "a linked copy goes into a folder that bases by their usual names have, whose owner and mode it would set anew", Info, "look at a base, or copy below a folder of your own"},
		{WaiverUnused, "a waiver waives nothing", Warning, "remove it, or mend rule and where"},
		{WaiverExpired, "a waiver is over", Warning, "remove it, or give it another date"},
	}
}

// Find returns the rule with a code; false when there is none.
func Find(code string) (Rule, bool) {
	for _, r := range All() {
		if r.Code == code {
			return r, true
		}
	}
	return Rule{}, false
}

// Codes lists the codes of all rules in the order of [All].
func Codes() []string {
	var out []string
	for _, r := range All() {
		out = append(out, r.Code)
	}
	return out
}
