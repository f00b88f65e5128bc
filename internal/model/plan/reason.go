package plan

// The codes of reasons. They are stable: scripts may match them. [Reasons] says
// what each means.
const (
	// Why an image is skipped, retagged, appended or blocked.
	SameKey     = "same-key"
	TagExists   = "tag-exists"
	SameContent = "same-content"
	AllShared   = "all-shared"
	Blocked     = "blocked"
	NotLookedUp = "not-looked-up"
	// Why an image that exists is made again.
	ContentChanged = "content-changed"
	KeyVersion     = "key-version"
	TagForeign     = "tag-foreign"
	// Why an image needs a solve of its own.
	RunOnBase       = "run-on-base"
	CopyWithoutLink = "copy-without-link"
	LinkWithChmod   = "link-with-chmod"
	AddOnBase       = "add-on-base"
	WorkdirOnBase   = "workdir-on-base"
	OnbuildOnBase   = "onbuild-on-base"
	CopyFromBase    = "copy-from-base"
	BaseNotFirst    = "base-not-first"
	StepOnBase      = "step-on-base"
	BaseEmpty       = "base-empty"
	BaseHistory     = "base-history"
	HistoryMismatch = "history-mismatch"
	StrategyBuild   = "strategy-build"
	// What a plan that asks nobody rests on.
	StandIn      = "stand-in"
	TagsNotAsked = "tags-not-asked"
	// What a plan warns of.
	SyntaxBuiltin  = "syntax-builtin"
	SourceUnpinned = "source-unpinned"
	TooManyLayers  = "too-many-layers"
	Emulated       = "several-platforms"
)

// Reasons says in one line what each code means and, where something can be
// done about it, what. Every code has a case in the test suite; a test fails on
// one without.
func Reasons() map[string]string {
	return map[string]string{
		SameKey:     "every tag holds this content already",
		TagExists:   "every tag exists, and with `--skip=tag` that is enough",
		SameContent: "this content is in the repository under another tag",
		AllShared:   "every step over the base is shared or sets only the config, so the image is put together in the registry",
		Blocked:     "the image cannot be made: the detail says why, and what to do",

		NotLookedUp: "offline, and no registry was ever asked about the base, or about an image that the recipe uses; leave out `--offline` once, or give `--base-config`",

		ContentChanged: "the tag holds other content: an input of the image changed",
		KeyVersion:     "the content key under the tag has another version, so it cannot be compared",
		TagForeign:     "the tag exists without a content key: something else published it, and it is replaced",

		RunOnBase:       "a `RUN` step runs on each base; move it into a stage of its own and copy the result with `COPY --link`",
		CopyWithoutLink: "a `COPY` writes into each base; add `--link`, and its layer is made once",
		LinkWithChmod:   "`--chmod` undoes `--link`; set the mode where the files are made",
		AddOnBase:       "an `ADD` writes into each base; add `--link`, and its layer is made once",
		WorkdirOnBase:   "a `WORKDIR` makes a folder on each base; leave it out and use full paths",
		OnbuildOnBase:   "a trigger (`ONBUILD`) of the base runs on each base; use a base without",
		CopyFromBase:    "a file is copied from a stage that is built on the base; copy from one that is not",
		BaseNotFirst:    "the base is not the lowest layer of the image; begin the last stage with it",
		StepOnBase:      "a step of another kind depends on the base",
		BaseEmpty:       "the base has no layers to lay others over",
		BaseHistory:     "the base's history does not name each of its layers, and only a solve fills it in; rebuild the base with a current tool",
		HistoryMismatch: "the recipe's history does not name each of its layers",
		StrategyBuild:   "`--strategy=build` asks for a solve for every image",

		StandIn:      "offline, and no registry was ever asked about the base, or about an image that the recipe uses: a config that was given stands in, and content keys, sizes and requests are not those of a build",
		TagsNotAsked: "offline, the target's tags are not asked for: every image counts as missing",

		SyntaxBuiltin:  "the built-in front end serves the `# syntax=` line; remove the line, or leave it",
		SourceUnpinned: "nothing pins the content of a source, so a change of it is not noticed; name a commit, or give `ADD` a `--checksum`",
		Emulated:       "steps run on several platforms, so each worker needs an emulator (binfmt) for those that are not its own; run what can be cross-built in a stage `FROM --platform=$BUILDPLATFORM`",
		TooManyLayers:  "an image has more layers than Docker unpacks; use a base with fewer, or put what several `COPY` bring into one stage and copy that",
	}
}
