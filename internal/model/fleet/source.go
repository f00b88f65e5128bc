package fleet

import (
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Source is a commit of a git repository that a recipe is taken from, instead
// of the disk.
type Source struct {
	// Git is the absolute path of a repository, or of a folder inside its work
	// tree; or a URL without a credential, as [IsGitURL] tells.
	Git string `json:"git"`
	// Ref is what was asked for: a branch, a tag, a commit.
	Ref string `json:"ref"`
	// Commit is the full hash of the commit that Ref stood for when the fleet was
	// read.
	Commit string `json:"commit"`
	// Submodules are absolute paths of local repositories by the path, relative
	// to the top of the tree, of the submodule that each is for.
	Submodules map[string]string `json:"submodules,omitempty"`
	// Pos is where the source was declared.
	Pos diag.Pos `json:"pos"`
}

// ShortCommit is the first 12 digits of a commit's hash, for people.
func ShortCommit(hash string) string { return hash[:min(12, len(hash))] }

// At is how people are told of a file of the source: its path and the commit.
func (s *Source) At(path string) string { return path + "@" + ShortCommit(s.Commit) }

// IsGitURL tells whether git takes a text for the address of a repository on
// another host, or of another program, and not for a path: it has a scheme, or
// is HOST:PATH as ssh writes it.
func IsGitURL(s string) bool {
	if strings.Contains(s, "://") {
		return true
	}
	host, _, ok := strings.Cut(s, ":")
	return ok && host != "" && !strings.ContainsRune(host, '/')
}
