package fleet

import (
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Worker is a daemon that runs may use.
type Worker struct {
	// Address is that of a BuildKit daemon, as its clients take it: unix://PATH,
	// tcp://HOST:PORT, or that of a connection helper. Empty means the embedded
	// daemon.
	Address string `json:"address"`
	// Name is unique among the workers of a fleet, and names it in journals;
	// empty means that the program chooses one.
	Name string `json:"name,omitempty"`
	// CA, Cert and Key are absolute paths of PEM files for a tcp:// address with
	// TLS: whom to trust, and who we are.
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	// Disk is what this daemon may use instead of the fleet's.
	Disk Disk `json:"disk,omitzero"`
}

// Embedded is how people name the embedded daemon among addresses.
const Embedded = "embedded"

// Title names w to people and in journals: its name, else its address, else
// [Embedded].
func (w Worker) Title() string {
	switch {
	case w.Name != "":
		return w.Name
	case w.Address != "":
		return w.Address
	}
	return Embedded
}

// schemes are those of the addresses of BuildKit daemons.
func schemes() []string {
	return []string{"unix", "tcp", "docker-container", "podman-container", "nerdctl-container", "kube-pod", "ssh"}
}

// addressHelp says how an address is written.
const addressHelp = "write unix://PATH, tcp://HOST:PORT, docker-container://NAME, kube-pod://NAME, ssh://USER@HOST, or embedded"

// ParseAddress checks the address of a daemon and returns it as [Worker] keeps
// it: that of the embedded one is "", which s may be already.
//
// An error is of kind diag.Usage and has help. It does not repeat s, in which
// there may be a password.
func ParseAddress(s string) (string, error) {
	if s == "" || s == Embedded {
		return "", nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || rest == "" || strings.ContainsFunc(s, unicode.IsSpace) {
		return "", diag.Errorf(diag.Usage, addressHelp, "this is no address of a daemon")
	}
	if !slices.Contains(schemes(), scheme) {
		help := addressHelp
		if near := diag.Nearest(scheme, schemes()); near != "" {
			help = "did you mean " + near + "://?"
		}
		return "", diag.Errorf(diag.Usage, help, "there is no kind of address %q", scheme)
	}
	host, _, _ := strings.Cut(rest, "/")
	if user, _, ok := strings.Cut(host, "@"); ok && strings.Contains(user, ":") {
		return "", diag.Errorf(diag.Usage, "the daemon asks for certificates or keys, never for a password", "an address holds no password")
	}
	if i := strings.LastIndexByte(host, ':'); scheme == "tcp" && (i < 1 || !isPort(host[i+1:])) {
		return "", diag.Errorf(diag.Usage, "write tcp://HOST:PORT", "the address has no port")
	}
	return s, nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}
