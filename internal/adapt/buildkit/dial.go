package buildkit

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/connhelper"
	// Each makes the client know one kind of address.
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	_ "github.com/moby/buildkit/client/connhelper/ssh"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// Options say how to reach a daemon. The zero value is right for everything but
// TCP with TLS.
type Options struct {
	// CA, Cert and Key are PEM files for TCP with TLS: the authority that
	// signed the daemon's certificate, and the client's own pair. Cert and Key
	// go together.
	CA, Cert, Key string
	// ServerName is the name that the daemon's certificate must carry; empty
	// means the host of the address. It is used only when CA or Cert is set.
	ServerName string
}

// Dial connects to the daemon at addr and asks for its version, so that a
// daemon that is not there fails here and not in the first solve. It tries
// once; ctx bounds the attempt, and should have a deadline. Addresses are
//
//	unix:///path                               a socket
//	tcp://host:port                            with TLS when opt says so
//	docker-container://NAME[?context=]         by docker exec
//	podman-container://NAME                    by podman exec
//	nerdctl-container://NAME[?namespace=]      by nerdctl exec
//	kube-pod://POD[?context=&namespace=&container=]  by kubectl exec
//	ssh://[user@]host[:port][/path]            by ssh; path is the socket there
//
// The last five run that program, which must be in PATH, and need buildctl
// where the daemon is. The program ends with the connection, or with this one.
// An address that is not understood is of kind diag.Usage.
func Dial(ctx context.Context, addr string, opt Options) (*Client, error) {
	w, err := newWay(addr)
	if err != nil {
		return nil, err
	}
	op := "connect to the daemon at " + addr
	if err := w.check(op); err != nil {
		return nil, err
	}
	bk, err := client.New(ctx, addr, opt.tls(w.url.Hostname())...)
	if err != nil {
		return nil, diag.Wrap(diag.Infra, op, err)
	}
	if _, err := bk.Info(ctx); err != nil {
		bk.Close()
		err = classify(ctx, op, err)
		if diag.KindOf(err) == diag.Infra && len(w.command) > 0 {
			err = &diag.Error{Kind: diag.Infra, Help: fmt.Sprintf("check that `%s` waits for input and does not fail", strings.Join(w.command, " ")), Err: err}
		}
		return nil, err
	}
	return &Client{addr: addr, bk: bk}, nil
}

// tls returns nothing when neither an authority nor a pair is given.
func (o Options) tls(host string) []client.ClientOpt {
	if o.CA == "" && o.Cert == "" {
		return nil
	}
	if o.ServerName != "" {
		host = o.ServerName
	}
	server := client.WithServerConfigSystem(host)
	if o.CA != "" {
		server = client.WithServerConfig(host, o.CA)
	}
	return []client.ClientOpt{server, client.WithCredentials(o.Cert, o.Key)}
}

// way is how a daemon is reached.
type way struct {
	url *url.URL
	// command is what reaches it by hand; empty without a program in between.
	command []string
}

const helpAddress = "use unix:///path/of/socket, tcp://host:port, docker-container://NAME, podman-container://NAME, " +
	"nerdctl-container://NAME, kube-pod://POD or ssh://user@host"

// newWay understands an address. An error does not repeat an address in which
// there may be a password.
func newWay(addr string) (way, error) {
	u, err := url.Parse(addr)
	if err != nil || !slices.Contains([]string{"unix", "tcp"}, u.Scheme) && program(u) == nil {
		if err != nil || u.User != nil {
			return way{}, diag.Errorf(diag.Usage, helpAddress, "the daemon's address is not understood")
		}
		return way{}, diag.Errorf(diag.Usage, helpAddress, "daemon address %q is not understood", addr)
	}
	if _, ok := u.User.Password(); ok {
		return way{}, diag.Errorf(diag.Usage, "use certificates or keys", "the daemon's address holds a password")
	}
	w := way{url: u, command: program(u)}
	if len(w.command) == 0 {
		return w, nil
	}
	if strings.HasPrefix(u.Hostname(), "-") {
		// The program would take it for an option.
		return way{}, diag.Errorf(diag.Usage, helpAddress, "daemon address %q: a name does not begin with -", addr)
	}
	if _, err := connhelper.GetConnectionHelper(addr); err != nil {
		return way{}, diag.Errorf(diag.Usage, helpAddress, "daemon address %q: %w", addr, err)
	}
	return w, nil
}

// program is the command that reaches the daemon at u, for people to try; nil
// when none is needed or known.
func program(u *url.URL) []string {
	dial := []string{"buildctl", "dial-stdio"}
	exec := func(program string, options ...string) []string {
		return slices.Concat([]string{program}, options, []string{"exec", "-i", u.Hostname()}, dial)
	}
	switch u.Scheme {
	case "docker-container":
		return exec("docker", given(u, "context")...)
	case "podman-container":
		return exec("podman")
	case "nerdctl-container":
		return exec("nerdctl", given(u, "namespace")...)
	case "kube-pod":
		options := given(u, "context", "namespace", "container")
		return slices.Concat([]string{"kubectl", "exec", "-i"}, options, []string{u.Hostname(), "--"}, dial)
	case "ssh":
		command := []string{"ssh"}
		if u.Port() != "" {
			command = append(command, "-p", u.Port())
		}
		host := u.Hostname()
		if user := u.User.Username(); user != "" {
			host = user + "@" + host
		}
		return slices.Concat(command, []string{host}, dial)
	}
	return nil
}

// given are the options of a query that are not empty.
func given(u *url.URL, names ...string) []string {
	var out []string
	for _, n := range names {
		if v := u.Query().Get(n); v != "" {
			out = append(out, "--"+n+"="+v)
		}
	}
	return out
}

// check looks for the program.
func (w way) check(op string) error {
	if len(w.command) == 0 {
		return nil
	}
	if _, err := exec.LookPath(w.command[0]); err != nil {
		return diag.Errorf(diag.Infra, "install "+w.command[0]+", or put it into PATH", "%s: %w", op, err)
	}
	return nil
}
