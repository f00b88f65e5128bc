// Package fleet says what should exist: a recipe, the images to make with it,
// and where they go. A [Fleet] is complete and checked: templates are
// rendered, ids and tags are unique, paths are absolute.
package fleet

import (
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Fleet is one recipe on N bases.
type Fleet struct {
	// Name is a short name for people; by default that of the file's folder.
	Name string `json:"name"`
	// File is the path of the fleet file, absolute.
	File string `json:"file"`
	// Recipe is what every image is made with.
	Recipe Recipe `json:"recipe"`
	// Images are in declared order; ids and tags are unique.
	Images []Image `json:"images"`
	// Output says how images are written.
	Output Output `json:"output"`
	// Platform is OS/ARCH[/VARIANT] of every image, "linux/amd64" by default; the
	// first of Platforms when there are several.
	Platform string `json:"platform"`
	// Platforms are two or more when every image is made for each of them and
	// published as an index over these; nil when there is one.
	Platforms []string `json:"platforms,omitempty"`
	// Epoch, when set, is SOURCE_DATE_EPOCH: layers and configs carry no later time.
	Epoch *time.Time `json:"epoch,omitempty"`
	// Secrets and SSH are offered to steps that ask for them by id.
	Secrets []Secret `json:"secrets,omitempty"`
	SSH     []SSH    `json:"ssh,omitempty"`
	// Prepare commands run before the context is read.
	Prepare []Prepare `json:"prepare,omitempty"`
	// Registries holds settings per registry host.
	Registries []Registry `json:"registries,omitempty"`
	// Jobs is the number of solves at once; 0 means the default.
	Jobs int `json:"jobs,omitempty"`
	// Disk is what each daemon may use of its disk.
	Disk Disk `json:"disk,omitzero"`
	// Deadlines say how long things may take.
	Deadlines Deadlines `json:"deadlines,omitzero"`
	// Workers are the daemons to use, by unique name or address; none means the
	// embedded one.
	Workers []Worker `json:"workers,omitempty"`
	// Lint says how the fleet is checked.
	Lint Lint `json:"lint,omitzero"`
}

// EachPlatform lists what every image is made for, at least one platform.
func (f *Fleet) EachPlatform() []string {
	if len(f.Platforms) > 0 {
		return f.Platforms
	}
	return []string{f.Platform}
}

// Indexed tells whether an image is published as an index: of its platforms, or
// of itself and what attests it.
func (f *Fleet) Indexed() bool { return len(f.Platforms) > 0 || f.Output.Attested() }

// Unit names the work on an image for a platform: by the image's id, with the
// platform behind a slash when there are several. Names are unique.
func (f *Fleet) Unit(image, platform string) string {
	if len(f.Platforms) == 0 {
		return image
	}
	return image + "/" + platform
}

// Recipe is a Dockerfile with its contexts and arguments.
type Recipe struct {
	// Source, when set, is the commit that the Dockerfile and the context are
	// taken from.
	Source *Source `json:"source,omitempty"`
	// Dockerfile and Context are absolute paths; with a Source they are relative
	// to the top of its tree, with slashes.
	Dockerfile string `json:"dockerfile"`
	Context    string `json:"context"`
	// Target is the stage to build; empty means the last.
	Target string `json:"target,omitempty"`
	// BaseArg is the build argument that receives an image's base; "BASE_IMAGE" by default.
	BaseArg string `json:"baseArg"`
	// BaseFrom is what a FROM says, as it is written, in the place of whose image an
	// image's base is put: the name of a context, or a reference with or without
	// arguments in it. BaseArg is then empty.
	BaseFrom string `json:"baseFrom,omitempty"`
	// Profiles are those that were asked for, in the order in which they were
	// applied, also one that does not reach Target and so changed nothing.
	Profiles []Profile `json:"profiles,omitempty"`
	// Args are build arguments that are the same for every image, those of the
	// profiles included.
	Args map[string]string `json:"args,omitempty"`
	// Contexts are named contexts: an absolute folder, or a URL with a scheme
	// that BuildKit knows (docker-image://, https://, git@…).
	Contexts map[string]string `json:"contexts,omitempty"`
	// Labels are set on every image.
	Labels map[string]string `json:"labels,omitempty"`
	// Network is the network mode of RUN steps: "", "none" or "host".
	Network string `json:"network,omitempty"`
}

// Image is one image that should exist.
type Image struct {
	// ID is unique in the fleet and names the image to people.
	ID string `json:"id"`
	// Base is the full reference of the base image, with registry host and tag or digest.
	Base string `json:"base"`
	// Tags are full references, at least one, all unique in the fleet.
	Tags []string `json:"tags"`
	// Args are build arguments of this image alone.
	Args map[string]string `json:"args,omitempty"`
	// Labels are set on this image alone.
	Labels map[string]string `json:"labels,omitempty"`
	// Pos is where the image was declared.
	Pos diag.Pos `json:"pos"`
}

// Output says how images are written.
type Output struct {
	// To is where images go: empty means the registries that their tags name,
	// oci:DIR an OCI image layout in the folder DIR, an absolute path, and docker
	// the Docker daemon that the docker command finds.
	To string `json:"to,omitempty"`
	// MediaTypes is "oci" (default) or "docker".
	MediaTypes string `json:"mediaTypes,omitempty"`
	// Compression of new layers: "gzip" (default) or "zstd".
	Compression string `json:"compression,omitempty"`
	// CompressionLevel is 1 to 9 for gzip and 1 to 22 for zstd; 0 is the daemon's
	// own choice.
	CompressionLevel int `json:"compressionLevel,omitempty"`
	// Annotations are set on every manifest; only with OCI media types.
	Annotations map[string]string `json:"annotations,omitempty"`
	// KeyTag also publishes every image as k-<key12>, so that a machine
	// without state finds equal content by one request.
	KeyTag bool `json:"keyTag,omitempty"`
	// Provenance also publishes of every image what it was made from; only with
	// OCI media types.
	Provenance bool `json:"provenance,omitempty"`
	// SBOM also publishes of every image what is in it, as the scanner finds that has
	// this full reference; empty means not. Only with OCI media types.
	SBOM string `json:"sbom,omitempty"`
}

// Scanner is the image that makes SBOMs when none is named: that of BuildKit.
const Scanner = "docker.io/docker/buildkit-syft-scanner:stable-1"

// Attested tells whether something is said of every image beside its manifest.
func (o Output) Attested() bool { return o.Provenance || o.SBOM != "" }

// HighestLevel is the highest level of the output's compression.
func (o Output) HighestLevel() int {
	if o.Compression == "zstd" {
		return 22
	}
	return 9
}

// Secret is a value that steps may mount by id. The value is never kept here:
// it is read from File or the environment variable Env when a solve asks.
type Secret struct {
	ID   string `json:"id"`
	File string `json:"file,omitempty"`
	Env  string `json:"env,omitempty"`
}

// SSH is an agent socket or key files that steps may use by id.
type SSH struct {
	ID    string   `json:"id"`
	Paths []string `json:"paths,omitempty"`
}

// Prepare is a command whose outputs join the context. It runs only when its
// inputs changed since its outputs were made.
type Prepare struct {
	Name string `json:"name"`
	// Run is the command, by argument; it is not given to a shell.
	Run []string `json:"run"`
	// Dir is the absolute folder it runs in.
	Dir string `json:"dir"`
	// Inputs and Outputs are paths or globs relative to Dir.
	Inputs  []string `json:"inputs"`
	Outputs []string `json:"outputs"`
	// Env are the variables the command sees beside PATH and HOME.
	Env map[string]string `json:"env,omitempty"`
	Pos diag.Pos          `json:"pos"`
}

// Registry holds settings of one registry host.
type Registry struct {
	// Host is host[:port] as it stands in references.
	Host string `json:"host"`
	// Mirrors are tried in order before the host, for pulls only.
	Mirrors []string `json:"mirrors,omitempty"`
	// HTTP allows plain HTTP; loopback hosts allow it anyway.
	HTTP bool `json:"http,omitempty"`
	// CAFile is an absolute path of PEM certificates to trust beside the system's.
	CAFile string `json:"caFile,omitempty"`
	// Proxy is the URL of an HTTP proxy; empty means the environment's.
	Proxy string `json:"proxy,omitempty"`
	// Concurrency is the number of requests in flight; 0 means the default.
	Concurrency int `json:"concurrency,omitempty"`
	// Pull and Push say where credentials come from; nil means Docker's
	// configuration of the user.
	Pull *Auth `json:"pull,omitempty"`
	Push *Auth `json:"push,omitempty"`
}

// Auth says where credentials for a registry come from, never what they are:
// the two variables together, or the folder.
type Auth struct {
	// ConfigDir is an absolute path of a folder with Docker's config.json.
	ConfigDir string `json:"configDir,omitempty"`
	// UsernameEnv and PasswordEnv name environment variables.
	UsernameEnv string `json:"usernameEnv,omitempty"`
	PasswordEnv string `json:"passwordEnv,omitempty"`
}
