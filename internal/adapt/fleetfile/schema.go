package fleetfile

import (
	"encoding/json"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// schema is a part of a JSON Schema.
type schema map[string]any

// Schema is the JSON Schema (draft 2020-12) of fleet files, for editors: it knows
// every field, what kind of value each takes and which must be there. What a
// value must be like beyond that, such as a reference or a template, only
// [Parse] knows.
func Schema() ([]byte, error) {
	s := fieldsOf("What should exist: one recipe on many bases.", []string{"images"}, map[string]schema{
		"name":     anyText("A short name for people; by default the folder's."),
		"recipe":   recipeSchema(),
		"profiles": mapOf("Named sets of build arguments for some targets.", fieldsOf("", []string{"targets"}, map[string]schema{"targets": listOf("The stages whose arguments it changes.", anyText("")), "args": textsOf("Build arguments.")})),
		"images":   {"description": "Which images should exist: one block, or a list of them.", "anyOf": []any{blockSchema(), listOf("", blockSchema())}},
		"output": fieldsOf("How images are written.", nil, map[string]schema{
			"to":         anyText("registry, docker for the Docker daemon, or oci:FOLDER for an OCI image layout."),
			"mediaTypes": oneOf("Kind of manifests.", "oci", "docker"), "compression": oneOf("Compression of new layers.", "gzip", "zstd"),
			"compressionLevel": anyCount("Level of the compression: 1 to 9 for gzip, to 22 for zstd."),
			"keyTag":           anyFlag("Also publish every image by its content key."), "annotations": textsOf("Annotations of every manifest."),
			"provenance": anyFlag("Also publish what every image was made from."),
			"sbom":       anyText("Also publish what is in every image, as a scanner finds it: true for that of BuildKit, or the reference of its image."),
		}),
		"platform":  anyText("linux/ARCH of every image; linux/amd64 by default."),
		"platforms": listOf("Several of them: every image is an index.", anyText("")),
		"epoch":     anyText("The latest time that layers and configs may carry."),
		"secrets":   listOf("What steps may mount by id.", fieldsOf("", []string{"id"}, map[string]schema{"id": anyText(""), "env": anyText("The variable that holds the value."), "file": anyText("The file that holds it.")})),
		"ssh":       listOf("Agent or keys that steps may use by id.", fieldsOf("", nil, map[string]schema{"id": anyText("default unless given."), "paths": listOf("Key files or a socket.", anyText(""))})),
		"prepare": listOf("Commands that run before the context is read.", fieldsOf("", []string{"name", "run", "inputs", "outputs"}, map[string]schema{
			"name": anyText(""), "run": listOf("The command by argument.", anyText("")), "dir": anyText("The folder it runs in."),
			"inputs": listOf("Paths and globs; it runs when they changed.", anyText("")), "outputs": listOf("What it makes.", anyText("")), "env": textsOf("Its variables."),
		})),
		"registries": listOf("Settings per registry host.", registrySchema()),
		"jobs":       anyCount("Solves at once on one worker."),
		"disk":       anyText("What a daemon may use: 20G, 40%, leave 10G free."),
		"deadlines":  fieldsOf("How long things may take: 30s, 20m, 5h.", nil, map[string]schema{"image": anyText(""), "step": anyText(""), "release": anyText(""), "run": anyText("")}),
		"workers": listOf("The daemons that make the images.", schema{"anyOf": []any{anyText("An address, or embedded."), fieldsOf("", []string{"address"}, map[string]schema{
			"address": anyText(""), "name": anyText(""), "ca": anyText(""), "cert": anyText(""), "key": anyText(""), "disk": anyText("")})}}),
		"lint": lintSchema(),
	})
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Lapstrake fleet file"
	out, err := json.MarshalIndent(s, "", " ")
	return append(out, '\n'), diag.Wrap(diag.Internal, "schema", err)
}

func recipeSchema() schema {
	return fieldsOf("What every image is made with.", nil, map[string]schema{
		"source": fieldsOf("The git commit that the Dockerfile and the context are taken from.", []string{"ref"}, map[string]schema{
			"git": anyText("A path or URL of a repository."), "ref": anyText("A branch, a tag or a commit."), "submodules": textsOf("Local repositories by the submodule's path."),
		}),
		"dockerfile": anyText("Path of the Dockerfile."), "context": anyText("The folder that COPY reads."), "target": anyText("The stage to build."),
		"baseArg": anyText("The build argument that receives each image's base."), "baseFrom": anyText("What a FROM says, as it is written, in the place of whose image each image's base is put, instead of baseArg."), "args": textsOf("Build arguments of every image."),
		"profiles": listOf("Profiles that apply.", anyText("")), "contexts": textsOf("Named contexts: folders, images, URLs."),
		"labels": textsOf("Labels of every image."), "network": oneOf("Network of RUN steps.", "default", "none", "host"),
	})
}

// blockSchema is one entry of images.
func blockSchema() schema {
	var formats []string
	for _, f := range fleet.Formats() {
		formats = append(formats, string(f))
	}
	return fieldsOf("Rows, and templates that make an image of each.", []string{"base"}, map[string]schema{
		"ids": listOf("Ids, one row each.", anyText("")), "from": anyText("A file of rows."), "format": oneOf("How that file is written.", formats...),
		"id": anyText("Template of the image's id."), "base": anyText("Template of the base's reference."),
		"tag": anyText("Template of the reference to publish."), "tags": listOf("The same, several.", anyText("")),
		"args": textsOf("Build arguments of each image."), "labels": textsOf("Labels of each image."), "exclude": listOf("Ids to leave out.", anyText("")),
		"select": fieldsOf("Which of the rows are meant.", nil, map[string]schema{
			"ids": listOf("Ids and globs.", anyText("")), "file": anyText("A file of ids."), "where": anyText("A condition."), "limit": anyCount("At most so many."),
			"sample": fieldsOf("A random choice.", []string{"n"}, map[string]schema{"n": anyCount(""), "seed": anyCount("")}),
		}),
	})
}

func registrySchema() schema {
	auth := fieldsOf("Where credentials come from.", nil, map[string]schema{"configDir": anyText(""), "usernameEnv": anyText(""), "passwordEnv": anyText("")})
	return fieldsOf("", []string{"host"}, map[string]schema{
		"host": anyText("host or host:port."), "mirrors": listOf("Asked first, for pulls.", anyText("")), "http": anyFlag("Allow plain HTTP."), "caFile": anyText("Certificates to trust."),
		"proxy": anyText("http://HOST:PORT"), "concurrency": anyCount("Requests in flight."), "pull": auth, "push": auth,
	})
}

func lintSchema() schema {
	return fieldsOf("How the fleet is checked.", nil, map[string]schema{
		"rules": textsOf("Severity by rule: error, warning, off."),
		"waivers": listOf("Findings that are accepted.", fieldsOf("", []string{"rule", "where", "reason"}, map[string]schema{
			"rule": anyText(""), "where": anyText("FILE:LINE, or a text of the line."), "reason": anyText(""), "owner": anyText("Who answers for it."), "expires": anyText("The last day on which it counts."),
		})),
		"limits": fieldsOf("What a plan may come to.", nil, map[string]schema{"executionsPerImage": anyCount(""), "bytes": anyText("")}),
	})
}

// fieldsOf is a mapping with these fields and no others.
func fieldsOf(what string, required []string, fields map[string]schema) schema {
	s := described(schema{"type": "object", "properties": fields, "additionalProperties": false}, what)
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func described(s schema, what string) schema {
	if what != "" {
		s["description"] = what
	}
	return s
}

// anyText takes numbers and truth values too: they are read as they are written.
func anyText(what string) schema {
	return described(schema{"type": []string{"string", "number", "boolean"}}, what)
}
func anyCount(what string) schema {
	return described(schema{"type": "integer", "minimum": 0}, what)
}
func anyFlag(what string) schema { return described(schema{"type": "boolean"}, what) }
func oneOf(what string, words ...string) schema {
	return described(schema{"enum": words}, what)
}
func listOf(what string, of schema) schema {
	return described(schema{"type": "array", "items": of}, what)
}
func mapOf(what string, of schema) schema {
	return described(schema{"type": "object", "additionalProperties": of}, what)
}
func textsOf(what string) schema { return mapOf(what, anyText("")) }
