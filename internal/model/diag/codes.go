package diag

// Code names one kind of problem. Codes are stable: scripts may match them.
type Code string

// The codes of problems in files that people wrote. [Codes] says what each means.
const (
	FleetSyntax    Code = "fleet-syntax"
	FleetUnknown   Code = "fleet-unknown-field"
	FleetType      Code = "fleet-type"
	FleetMissing   Code = "fleet-missing"
	FleetValue     Code = "fleet-value"
	FleetTemplate  Code = "fleet-template"
	FleetNotFound  Code = "fleet-not-found"
	FleetEmpty     Code = "fleet-empty"
	FleetSource    Code = "fleet-source"
	FleetReference Code = "fleet-reference"
	FleetDuplicate Code = "fleet-duplicate"
	ImageDuplicate Code = "image-duplicate"
	TagDuplicate   Code = "tag-duplicate"
	RowSyntax      Code = "row-syntax"
	RowField       Code = "row-field"
	PrepareInput   Code = "prepare-input"
	PrepareFailed  Code = "prepare-failed"
	PrepareOutput  Code = "prepare-output"
	RecipeSyntax   Code = "recipe-syntax"
	RecipeConvert  Code = "recipe-convert"
	RecipeSource   Code = "recipe-source"
	IgnoreSyntax   Code = "ignore-syntax"
	GateSyntax     Code = "gate-syntax"
	GateUnknown    Code = "gate-unknown"
	GateDuplicate  Code = "gate-duplicate"
	GateWaiver     Code = "gate-waiver"
	BaseConfig     Code = "base-config"

	ManifestSyntax Code = "manifest-syntax"
	ManifestValue  Code = "manifest-value"

	BakeSyntax      Code = "bake-syntax"
	BakeTarget      Code = "bake-target"
	BakeRecipes     Code = "bake-recipes"
	BakeBase        Code = "bake-base"
	BakeTag         Code = "bake-tag"
	BakeUnsupported Code = "bake-unsupported"
	BakeIgnored     Code = "bake-ignored"

	HistoryAncestor  Code = "history-ancestor"
	HistoryOrder     Code = "history-order"
	HistoryDuplicate Code = "history-duplicate"
	HistoryDiverged  Code = "history-diverged"
	LabSyntax        Code = "lab-syntax"
	LabUnknown       Code = "lab-unknown-field"
	LabType          Code = "lab-type"
	LabMissing       Code = "lab-missing"
	LabValue         Code = "lab-value"
	LabDuplicate     Code = "lab-duplicate"
	LabEmpty         Code = "lab-empty"
	LabNotFound      Code = "lab-not-found"
	LabName          Code = "lab-name"
	LabBaseline      Code = "lab-before-baseline"
	LabDiverged      Code = "lab-diverged"
	LabUnpinned      Code = "lab-unpinned-ref"
	LabConfounded    Code = "lab-confounded"
	LabConcurrency   Code = "lab-concurrency"
	LabBudget        Code = "lab-over-budget"
	LabNoBump        Code = "lab-no-bump"
	LabInert         Code = "lab-inert-factor"
	LabCliff         Code = "lab-disk-cliff"
	LabFew           Code = "lab-few-replicates"
)

// Codes says in one line what each code means. Every code has a case in the
// test suite; a test fails on one without.
func Codes() map[Code]string {
	return map[Code]string{
		FleetSyntax:    "the fleet file is not YAML",
		FleetUnknown:   "the fleet file has a field that does not exist",
		FleetType:      "a field of the fleet file has a value of the wrong type",
		FleetMissing:   "a required field of the fleet file is missing",
		FleetValue:     "a field of the fleet file has a value that is not allowed",
		FleetTemplate:  "a template does not parse, or names a field that the rows do not have",
		FleetNotFound:  "a file or folder that the fleet file names cannot be read",
		FleetEmpty:     "the fleet has no images",
		FleetSource:    "the git repository, the commit or a submodule of the recipe's source is not there",
		FleetReference: "a rendered image reference is not valid",
		FleetDuplicate: "a field of the fleet file is given twice, or two entries have the same name",
		ImageDuplicate: "two images have the same id",
		TagDuplicate:   "two images would publish the same tag",
		RowSyntax:      "a row of the instance list does not parse",
		RowField:       "a row of the instance list lacks a field or has one of the wrong type",
		PrepareInput:   "an input of a prepare command is missing or cannot be read",
		PrepareFailed:  "a prepare command was not found, or failed",
		PrepareOutput:  "a prepare command succeeded without leaving an output",
		RecipeSyntax:   "the Dockerfile does not parse",
		RecipeConvert:  "the Dockerfile cannot be converted for a base",
		RecipeSource:   "a path that the Dockerfile copies is not in the context",
		BaseConfig:     "the file of --base-config is not the config of an image for the fleet's platform",
		IgnoreSyntax:   "the .dockerignore file has a bad pattern",
		GateSyntax:     "a claim of a gate does not parse",
		GateUnknown:    "a claim names a metric or a cell that does not exist, or no cell",
		GateDuplicate:  "two claims have the same name",
		GateWaiver:     "a waiver lacks an owner, a reason or an expiry",

		ManifestSyntax: "a line of a build manifest is not a JSON object, or there is none",
		ManifestValue:  "a field of a build manifest is missing, of another type, or makes no sense",

		BakeSyntax:      "a bake or Compose file does not parse, or bake cannot evaluate it",
		BakeTarget:      "a bake or Compose file has no targets, or names one that does not exist",
		BakeRecipes:     "the targets are not images of one recipe",
		BakeBase:        "a target is built on no image, or a Dockerfile for `init` not on one build argument",
		BakeTag:         "a target has no tag",
		BakeUnsupported: "a target asks for what would change its image and a fleet cannot do",
		BakeIgnored:     "a note: a target asks for what has no effect on its image here",

		HistoryAncestor:  "a commit to compare is an ancestor of the baseline, so the baseline holds it already",
		HistoryOrder:     "commits are not named from the oldest to the newest",
		HistoryDuplicate: "a commit is named twice",
		HistoryDiverged:  "commits are on lines of development that parted, so that neither came after the other",
		LabSyntax:        "the lab file is not YAML",
		LabUnknown:       "the lab file has a field that does not exist",
		LabType:          "a field of the lab file has a value of the wrong type",
		LabMissing:       "a required field of the lab file is missing",
		LabValue:         "a field of the lab file has a value that is not allowed",
		LabDuplicate:     "two entries of the lab file have the same name, levels or value",
		LabEmpty:         "the lab file is empty",
		LabNotFound:      "a file or folder that the lab file names cannot be read",
		LabName:          "the lab file speaks of a factor, level, cell, claim or metric that does not exist",
		LabBaseline:      "a level of a factor is a commit that comes before the baseline",
		LabDiverged:      "a level of a factor is a commit that does not descend from the baseline",
		LabUnpinned:      "a commit is named by something that can come to mean another one",
		LabConfounded:    "a claim compares cells between which several things change at once",
		LabConcurrency:   "a claim compares times of cells that run unlike numbers of solves at once",
		LabBudget:        "the trials are expected to take more than the budget of the experiment",
		LabNoBump:        "no cell starts from what another level left, so inputs that change with every commit are not seen",
		LabInert:         "a factor changes nothing that a build depends on",
		LabCliff:         "what a cell takes is only known from the other side of a full disk",
		LabFew:           "times are asked for, and a cell has one trial",
	}
}

// Advice says in one line what to do about each code. A problem's own help is
// more exact.
func Advice() map[Code]string {
	return map[Code]string{
		FleetSyntax:    "mend the line; quote text that begins with `{{`, `*`, `&` or `@`",
		FleetUnknown:   "use the field that is suggested, or remove it",
		FleetType:      "give it a value of the type that the message names",
		FleetMissing:   "add the field",
		FleetValue:     "use a value that the help names",
		FleetTemplate:  "use a field that the rows have, or `{{default \"...\" .field}}`",
		FleetNotFound:  "check the path: it is relative to the folder of the fleet file",
		FleetEmpty:     "check the instance list and `exclude`",
		FleetSource:    "check `recipe.source`: `git` is a path or a URL, `ref` a branch, a tag or a commit; each submodule needs a repository",
		FleetReference: "write HOST/PATH:TAG; paths are lower case",
		FleetDuplicate: "keep one of them",
		ImageDuplicate: "remove one of the rows, or make `id` tell them apart",
		TagDuplicate:   "make the template tell the images apart, for example with `{{.id}}`",
		RowSyntax:      "mend the row",
		RowField:       "give it a value, or write `{{default \"...\" .field}}`",
		PrepareInput:   "check `inputs`: patterns are relative to `dir`",
		PrepareFailed:  "the end of its output is shown; the file named holds all of it",
		PrepareOutput:  "check `outputs` and what the command writes",
		RecipeSyntax:   "mend the line",
		RecipeConvert:  "the message says what stands in the way; often a `FROM` that does not use the base argument",
		RecipeSource:   "check the path: it is relative to the context, and what `.dockerignore` leaves out is not there",
		BaseConfig:     "give it the JSON of an image's config, or what `docker inspect` says of an image",
		IgnoreSyntax:   "write a path with `*`, `?`, `**` or `[a-z]`, and `!` before an exception",
		GateSyntax:     "compare two sides, such as `disk.peak <= 0.85 * budget`",
		GateUnknown:    "use the name that is suggested, or give the claim a cell",
		GateDuplicate:  "rename one of them",
		GateWaiver:     "say who answers for it, why, and until when",

		ManifestSyntax: "give it the file as it was written; a last line that was cut off can be removed",
		ManifestValue:  "mend the line, or remove it",

		BakeSyntax:      "mend the line; `docker buildx bake --print` says the same",
		BakeTarget:      "use the name that is suggested",
		BakeRecipes:     "take one recipe at a time with `--target`",
		BakeBase:        "begin the Dockerfile with `ARG BASE_IMAGE` and `FROM ${BASE_IMAGE}`, and give a target the argument; or name the base as a context",
		BakeTag:         "give it `tags`",
		BakeUnsupported: "take it out, or override it with `--set`",
		BakeIgnored:     "nothing, unless it was there for a reason",

		HistoryAncestor:  "leave it out, or take an older baseline",
		HistoryOrder:     "name the older one first",
		HistoryDuplicate: "name each commit once",
		HistoryDiverged:  "compare each with where the lines parted: `git merge-base`",
		LabSyntax:        "mend the line; quote text that holds `: ` or begins with `*`, `&` or `@`",
		LabUnknown:       "use the field that is suggested, or remove it",
		LabType:          "give it a value of the type that the message names",
		LabMissing:       "add the field",
		LabValue:         "use a value that the help names",
		LabDuplicate:     "rename or remove one of them",
		LabEmpty:         "say what is built: `fleet: fleet.yaml`",
		LabNotFound:      "check the path: it is relative to the folder of the lab file",
		LabName:          "use the name that is suggested",
		LabBaseline:      "exchange the levels, or take a commit after the baseline",
		LabDiverged:      "take commits of one line of history: rebase one of them, or begin where they part",
		LabUnpinned:      "write the whole hash",
		LabConfounded:    "add the cells in which one of them changes alone",
		LabConcurrency:   "compare cells with the same `jobs`, or counts and bytes instead of times",
		LabBudget:        "drop cells or replicates, or raise `budget`",
		LabNoBump:        "add `bump` to `temperatures`",
		LabInert:         "drop the factor, or look whether the fleet reads its source",
		LabCliff:         "run the cell once to learn what it takes: less or more disk changes how often steps are made again",
		LabFew:           "set `replicates: 2` or more",
	}
}
