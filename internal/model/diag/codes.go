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
		IgnoreSyntax:   "the .dockerignore file has a bad pattern",
	}
}
