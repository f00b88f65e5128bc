package buildkit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/lapstrake/lapstrake/internal/adapt/buildkit"
	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/run/worker/workertest"
	"github.com/lapstrake/lapstrake/internal/testfleet"
)

// programs are those that a shim stands for.
var programs = []string{"docker", "podman", "nerdctl", "kubectl", "ssh"}

// shim is a program that daemons are reached by: it says how it was called and
// does what buildctl dial-stdio does, with the socket of the test's daemon.
// LAPSTRAKE_TEST_SHIM says otherwise: fail, or be silent.
func shim() int {
	if err := os.WriteFile(os.Getenv("LAPSTRAKE_TEST_CALL"), []byte(filepath.Base(os.Args[0])+" "+strings.Join(os.Args[1:], " ")), 0o600); err != nil {
		panic(err)
	}
	switch os.Getenv("LAPSTRAKE_TEST_SHIM") {
	case "fail":
		fmt.Fprintln(os.Stderr, "no such container: builder")
		return 1
	case "silent":
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM)
		<-end // not an empty select: without cgo the runtime would call it a deadlock
		return 1
	}
	conn, err := net.Dial("unix", os.Getenv("LAPSTRAKE_TEST_SOCKET"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		io.Copy(conn, os.Stdin)
		conn.(*net.UnixConn).CloseWrite()
	}()
	io.Copy(os.Stdout, conn)
	return 0
}

// shims puts the programs into PATH and returns the file that says how one was
// called last.
func shims(t *testing.T, mode string) (call string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, p := range programs {
		if err := os.Symlink(self, filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	call = filepath.Join(dir, "call")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("LAPSTRAKE_TEST_CALL", call)
	t.Setenv("LAPSTRAKE_TEST_SHIM", mode)
	t.Setenv("LAPSTRAKE_TEST_SOCKET", strings.TrimPrefix(workertest.Start(t).Addr(), "unix://"))
	return call
}

func TestDialByProgram(t *testing.T) {
	tests := []struct{ addr, call string }{
		{"docker-container://builder", "docker exec -i builder buildctl dial-stdio"},
		{"docker-container://builder-1?context=far", "docker --context=far exec -i builder-1 buildctl dial-stdio"},
		{"podman-container://builder-2", "podman exec -i builder-2 buildctl dial-stdio"},
		{"nerdctl-container://builder-3?namespace=k8s.io", "nerdctl exec --namespace k8s.io -i builder-3 buildctl dial-stdio"},
		{"kube-pod://builder-4?context=c&namespace=ci&container=buildkitd", "kubectl --context=c --namespace=ci exec --container=buildkitd -i builder-4 -- buildctl dial-stdio"},
		{"ssh://me@far-5", "ssh -l me -- far-5 buildctl dial-stdio"},
		{"ssh://far-6:2222/run/b.sock", "ssh -p 2222 -- far-6 buildctl --addr unix:///run/b.sock dial-stdio"},
	}
	call := shims(t, "")
	files := folder(t, nil)
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			c := dialTo(t, tt.addr)
			if got, err := os.ReadFile(call); err != nil || string(got) != tt.call {
				t.Errorf("called %q, want %q (%v)", got, tt.call, err)
			}
			// A solve that reads a folder needs the session, too.
			recs, err := solve(t, c, buildkit.SessionOptions{Locals: files}, sh(box(), "echo "+tt.addr+" > /out"))
			if err != nil || len(recs.ran()) == 0 {
				t.Errorf("ran %q: %v", recs.ran(), err)
			}
			// The name is in the arguments of this program alone.
			name := strings.Fields(strings.SplitN(tt.call, " buildctl", 2)[0])
			host := name[len(name)-1]
			if host == "--" {
				host = name[len(name)-2]
			}
			if len(testfleet.Processes(host)) == 0 {
				t.Fatalf("no process has the argument %q: the test is blind", host)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			testfleet.Await(t, "the program ends with the connection", func() bool { return len(testfleet.Processes(host)) == 0 })
		})
	}
}

func TestDialByProgramThatFails(t *testing.T) {
	tests := []struct {
		name, mode, path string
		ctx              time.Duration
		kind             diag.Kind
		text, help       string
	}{
		{"it ends", "fail", "", 0, diag.Infra, "no such container: builder", "`docker exec -i builder buildctl dial-stdio`"},
		{"it is silent", "silent", "", 500 * time.Millisecond, diag.Interrupted, "deadline exceeded", ""},
		{"it is missing", "", "/nowhere", 0, diag.Infra, "docker", "install docker"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shims(t, tt.mode)
			if tt.path != "" {
				t.Setenv("PATH", tt.path)
			}
			ctx := t.Context()
			if tt.ctx > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.ctx)
				defer cancel()
			}
			c, err := buildkit.Dial(ctx, "docker-container://builder", buildkit.Options{})
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			if diag.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) || !strings.Contains(diag.HelpOf(err), tt.help) {
				t.Errorf("kind %v of %v; help %q", diag.KindOf(err), err, diag.HelpOf(err))
			}
			if lost := errors.Is(err, buildkit.ErrLost); lost != (tt.mode == "fail") {
				t.Errorf("lost %v: %v", lost, err)
			}
			testfleet.Await(t, "the program ends", func() bool { return len(testfleet.Processes("builder")) == 0 })
		})
	}
}

// A program that dies is a daemon that is lost.
func TestProgramIsKilled(t *testing.T) {
	shims(t, "")
	c := dialTo(t, "ssh://killed-host")
	s := open(t, c, buildkit.SessionOptions{Locals: folder(t, nil)})
	arg := fmt.Sprintf("96%d.7", os.Getpid())
	done := make(chan error, 1)
	def := marshal(t, sh(box(), "sleep "+arg+" & sleep "+arg))
	go func() { done <- solveIn(t.Context(), s, def) }()
	testfleet.Await(t, "the step runs", func() bool { return len(testfleet.Processes(arg)) >= 2 })
	kill(t, testfleet.Processes("killed-host"))
	if err := <-done; !errors.Is(err, buildkit.ErrLost) {
		t.Errorf("the solve ended with %v", err)
	}
	// The daemon gives up a solve whose client is gone.
	testfleet.Await(t, "the step ends", func() bool { return len(testfleet.Processes(arg)) == 0 })
}

// authority is a certificate that signs others.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// issue writes NAME.pem and NAME-key.pem.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name: {Type: "CERTIFICATE", Bytes: der}, name + "-key": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out, key
}

// serveTLS puts TLS that asks for a client's certificate before the shared
// daemon, and returns its port.
func (a *authority) serveTLS(host string) string {
	a.t.Helper()
	a.issue("server", &x509.Certificate{DNSNames: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pair, err := tls.LoadX509KeyPair(a.file("server"), a.file("server-key"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { l.Close() })
	socket := strings.TrimPrefix(workertest.Start(a.t).Addr(), "unix://")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if conn.(*tls.Conn).Handshake() != nil {
					return
				}
				to, err := net.Dial("unix", socket)
				if err != nil {
					return
				}
				defer to.Close()
				go io.Copy(to, conn)
				io.Copy(conn, to)
			}()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestDialTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	ours.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	others.issue("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	local, far := "tcp://localhost:"+ours.serveTLS("localhost"), "tcp://127.0.0.1:"+ours.serveTLS("builder.example")
	good := buildkit.Options{CA: ours.file("ca"), Cert: ours.file("client"), Key: ours.file("client-key")}
	with := func(change func(*buildkit.Options)) buildkit.Options {
		o := good
		change(&o)
		return o
	}
	tests := []struct {
		name, addr string
		opt        buildkit.Options
		ok         bool
	}{
		{"both sides trust", local, good, true},
		{"another name", far, good, false},
		{"another name, as said", far, with(func(o *buildkit.Options) { o.ServerName = "builder.example" }), true},
		{"a server of others", local, with(func(o *buildkit.Options) { o.CA = others.file("ca") }), false},
		{"a client of others", local, with(func(o *buildkit.Options) { o.Cert, o.Key = others.file("client"), others.file("client-key") }), false},
		{"no client", local, with(func(o *buildkit.Options) { o.Cert, o.Key = "", "" }), false},
		{"no key", local, with(func(o *buildkit.Options) { o.Key = "" }), false},
		{"the machine's authorities", local, with(func(o *buildkit.Options) { o.CA = "" }), false},
		{"no TLS", local, buildkit.Options{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, err := buildkit.Dial(ctx, tt.addr, tt.opt)
			if !tt.ok {
				if err == nil {
					c.Close()
				}
				if diag.KindOf(err) != diag.Infra || ctx.Err() != nil {
					t.Errorf("kind %v of %v", diag.KindOf(err), err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := solve(t, c, buildkit.SessionOptions{Locals: folder(t, nil)}, copied(llb.Scratch(), "/busybox", "/"+tt.name)); err != nil {
				t.Error(err)
			}
		})
	}
}
