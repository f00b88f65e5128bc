package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/bklog"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/sirupsen/logrus"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

// Local is a folder that solves may read by name.
type Local struct {
	// Dir is an absolute path. Which of its files are sent is said by the
	// graph, not here.
	Dir string
}

// SessionOptions say what solves of one session may ask this machine for.
type SessionOptions struct {
	// Locals by the name that graphs use for them.
	Locals map[string]Local
	// Secrets and SSH are offered by id.
	Secrets []fleet.Secret
	SSH     []fleet.SSH
	// Credentials returns the login for a registry host, host[:port] and
	// "docker.io" for Docker Hub. Two empty strings mean none; an empty
	// username with a password is an identity token. It is called concurrently.
	// Nil means anonymous.
	Credentials func(ctx context.Context, host string) (username, password string, err error)
}

// Session lets any number of solves, also at the same time, reach the same
// folders, secrets and credentials. Solves of one session share the daemon's
// copy of a folder: it is sent once, as it was when the first solve read it.
type Session struct {
	client *Client
	s      *session.Session
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of the connection; read after done
}

// Session opens a session. ctx bounds nothing but the set-up: the session lives
// until Close. Folders and keys that cannot be read are diag.File.
func (c *Client) Session(ctx context.Context, opt SessionOptions) (*Session, error) {
	dirs, err := openLocals(opt.Locals)
	if err != nil {
		return nil, err
	}
	agents, err := newAgents(opt.SSH)
	if err != nil {
		return nil, err
	}
	// The daemon keeps its copy of a folder under this key and updates it with
	// what changed, so the key must be the same in the next run.
	run, cancel := context.WithCancel(quiet(context.WithoutCancel(ctx)))
	s, err := session.NewSession(run, sharedKey(opt.Locals))
	if err != nil {
		cancel()
		return nil, diag.Wrap(diag.Internal, "open a session", err)
	}
	s.Allow(filesync.NewFSSyncProvider(dirs))
	s.Allow(newSecrets(opt.Secrets))
	s.Allow(&logins{get: opt.Credentials})
	if agents != nil {
		s.Allow(agents)
	}
	out := &Session{client: c, s: s, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(out.done)
		out.err = s.Run(run, func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			conn, err := c.bk.Dialer()(ctx, proto, meta)
			return quietConn{conn}, err
		})
	}()
	return out, nil
}

// Close ends the session; solves that still run fail. It does not wait for the
// daemon, and may be called more than once.
func (s *Session) Close() error {
	// The stream is cut first: a daemon that hangs would hold up a polite goodbye.
	s.cancel()
	s.s.Close()
	<-s.done
	// One that is cut while it is dialled says so in gRPC's words.
	if s.err != nil && !errors.Is(s.err, context.Canceled) && grpcerrors.Code(s.err) != codes.Canceled {
		return classify(context.Background(), "session with the daemon at "+s.client.addr, s.err)
	}
	return nil
}

// openLocals opens every folder. Owners are reset to 0, as docker's client
// does, so that a layer does not depend on who checked the files out.
func openLocals(locals map[string]Local) (filesync.StaticDirSource, error) {
	dirs := filesync.StaticDirSource{}
	for _, name := range slices.Sorted(maps.Keys(locals)) {
		base, err := fsutil.NewFS(locals[name].Dir)
		if err != nil {
			return nil, diag.Errorf(diag.File, "name a folder that can be read", "context %q: %w", name, err)
		}
		dirs[name], err = fsutil.NewFilterFS(base, &fsutil.FilterOpt{Map: func(_ string, st *fstypes.Stat) fsutil.MapResult {
			st.Uid, st.Gid = 0, 0
			return fsutil.MapResultKeep
		}})
		if err != nil {
			return nil, diag.Errorf(diag.File, "name a folder that can be read", "context %q: %w", name, err)
		}
	}
	return dirs, nil
}

func sharedKey(locals map[string]Local) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(locals)) {
		fmt.Fprintf(h, "%q=%q\n", name, locals[name].Dir)
	}
	return hex.EncodeToString(h.Sum(nil))[:24]
}

// quiet keeps BuildKit's client from writing to the global logger: what went
// wrong comes back as an error.
func quiet(ctx context.Context) context.Context {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return bklog.WithLogger(ctx, logrus.NewEntry(l))
}

// quietConn ends on every error as on a closed connection, which alone the
// HTTP/2 server that reads from it does not write to the global logger.
type quietConn struct{ net.Conn }

// Read implements net.Conn.
func (c quietConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}
