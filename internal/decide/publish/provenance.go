package publish

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/fact"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
	"github.com/lapstrake/lapstrake/internal/model/graph"
)

// Made is what a unit was made from. Nothing in it tells when, where, in which run or
// in which way: what is made again of the same is attested by the same bytes.
type Made struct {
	// Image is the image's id.
	Image, Platform, Key string
	Manifest             graph.Digest
	Base                 *fact.Base
	Variant              *graph.Variant
	// Content is a digest over the files of local contexts that the steps copy; ""
	// when they copy none.
	Content graph.Digest
	// Dockerfile is its path as anybody would know it, and Text its digest.
	Dockerfile string
	Text       graph.Digest
	Recipe     fleet.Recipe
	// Args are the build arguments of the recipe and the image, without the base's.
	Args  map[string]string
	Epoch *time.Time
	// Versions are those of the programs that decide the content, by name.
	Versions map[string]string
}

// What a statement of provenance says that it is.
const (
	predicateType = "https://slsa.dev/provenance/v1"
	buildType     = "https://lapstrake.dev/build/v1"
	builderID     = "https://lapstrake.dev/lapstrake"
)

// statement is an in-toto statement with a SLSA provenance predicate.
type statement struct {
	Type          string     `json:"_type"`
	PredicateType string     `json:"predicateType"`
	Subject       []resource `json:"subject"`
	Predicate     struct {
		BuildDefinition struct {
			BuildType            string     `json:"buildType"`
			ExternalParameters   external   `json:"externalParameters"`
			InternalParameters   internal   `json:"internalParameters"`
			ResolvedDependencies []resource `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID      string            `json:"id"`
				Version map[string]string `json:"version,omitempty"`
			} `json:"builder"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

// resource is SLSA's resource descriptor.
type resource struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// external are the parameters that people chose.
type external struct {
	Image      string            `json:"image"`
	Platform   string            `json:"platform"`
	Dockerfile resource          `json:"dockerfile"`
	Target     string            `json:"target,omitempty"`
	Network    string            `json:"network,omitempty"`
	BaseArg    string            `json:"baseArg,omitempty"`
	BaseFrom   string            `json:"baseFrom,omitempty"`
	Args       map[string]string `json:"args,omitempty"`
	Secrets    []string          `json:"secrets,omitempty"`
	Epoch      *time.Time        `json:"epoch,omitempty"`
}

// internal are what the program made of them.
type internal struct {
	Key          string       `json:"key"`
	Conversion   graph.Digest `json:"conversion"`
	SharedLayers graph.Digest `json:"sharedLayers,omitempty"`
}

// Provenance says how a part was made. Values of arguments that may be secrets are
// digests.
func Provenance(m Made) (Statement, error) {
	var s statement
	s.Type, s.PredicateType = statementType, predicateType
	s.Subject = []resource{{Name: m.Image, Digest: digestSet(m.Manifest)}}
	def := &s.Predicate.BuildDefinition
	def.BuildType = buildType
	def.ExternalParameters = external{Image: m.Image, Platform: m.Platform, Dockerfile: resource{Name: m.Dockerfile, Digest: digestSet(m.Text)},
		Target: m.Recipe.Target, Network: m.Recipe.Network, BaseArg: m.Recipe.BaseArg, BaseFrom: m.Recipe.BaseFrom, Args: map[string]string{}, Epoch: m.Epoch}
	for name, value := range m.Args {
		def.ExternalParameters.Args[name] = graph.Masked(name, value)
	}
	def.InternalParameters = internal{Key: m.Key, Conversion: m.Variant.ID}
	if m.Variant.Shared != nil {
		def.InternalParameters.SharedLayers = m.Variant.Shared.ID
	}
	def.ResolvedDependencies, def.ExternalParameters.Secrets = dependencies(m)
	s.Predicate.RunDetails.Builder.ID, s.Predicate.RunDetails.Builder.Version = builderID, m.Versions
	data, err := json.Marshal(s)
	if err != nil {
		return Statement{}, fmt.Errorf("provenance of %s: %w", m.Image, err)
	}
	return Statement{predicateType, data}, nil
}

// dependencies are what steps read: the base, the recipe's commit, the files of local
// contexts, and other sources, each once; and the ids of secrets that they mount.
func dependencies(m Made) (out []resource, secrets []string) {
	out = []resource{{Name: "base", URI: "docker-image://" + m.Base.Ref, Digest: digestSet(m.Base.Digest), Annotations: map[string]string{"manifest": string(m.Base.Manifest)}}}
	if s := m.Recipe.Source; s != nil {
		r := resource{Name: "recipe", Digest: map[string]string{"gitCommit": s.Commit}}
		if fleet.IsGitURL(s.Git) { // a path is of one machine
			r.URI = "git+" + anonymous(s.Git)
		}
		out = append(out, r)
	}
	if m.Content != "" {
		out = append(out, resource{Name: "context", Digest: digestSet(m.Content)})
	}
	seen, known := map[string]bool{}, map[string]bool{}
	for _, s := range m.Variant.Graph.Steps {
		for _, id := range s.Secrets {
			if !known[id] {
				known[id] = true
				secrets = append(secrets, id)
			}
		}
		if !s.Kind.Source() || s.Kind == graph.KindLocal || s.BaseBound || seen[s.Source] {
			continue
		}
		seen[s.Source] = true
		out = append(out, sourceOf(s))
	}
	return out, secrets
}

var commitOf = regexp.MustCompile(`#([0-9a-f]{40})\b`)

// sourceOf is what a source step reads.
func sourceOf(s graph.Step) resource {
	if s.Kind == graph.KindImage {
		_, digest, _ := strings.Cut(s.Source, "@")
		return resource{URI: "docker-image://" + s.Source, Digest: digestSet(graph.Digest(digest))}
	}
	r := resource{URI: anonymous(s.Source)}
	if c := commitOf.FindStringSubmatch(s.Source); c != nil {
		r.Digest = map[string]string{"gitCommit": c[1]}
	}
	return r
}

// anonymous is a URL without the user and password that it may hold.
func anonymous(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return url
	}
	host, path, slash := strings.Cut(rest, "/")
	host = host[strings.LastIndexByte(host, '@')+1:]
	if slash {
		path = "/" + path
	}
	return scheme + "://" + host + path
}

// digestSet is a digest as in-toto writes it; nil for none.
func digestSet(d graph.Digest) map[string]string {
	algorithm, hex, ok := strings.Cut(string(d), ":")
	if !ok {
		return nil
	}
	return map[string]string{algorithm: hex}
}
