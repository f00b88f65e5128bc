//go:build linux

package testfleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Subnet is a bridge on this machine, with daemons in network namespaces of
// their own behind it: to each other and to the machine they are as far as other
// machines.
type Subnet struct {
	t      testing.TB
	id     string
	prefix string // of addresses, without the last number
	hosts  int
}

// NewSubnet makes an empty subnet, which is gone after the test. It skips the
// test without root, and where the kernel has no bridges. Needs ip, which `make
// test` installs.
func NewSubnet(t testing.TB) *Subnet {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	for _, tool := range []string{"ip", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("network namespaces need %s", tool)
		}
	}
	n := os.Getpid() % 200
	s := &Subnet{t: t, id: fmt.Sprintf("lap%d", n), prefix: fmt.Sprintf("10.77.%d.", n)}
	if out, err := s.ip("link", "add", s.id, "type", "bridge"); err != nil {
		t.Skipf("no bridge can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { s.ip("link", "del", s.id) })
	s.must("addr", "add", s.prefix+"1/24", "dev", s.id)
	s.must("link", "set", s.id, "up")
	return s
}

func (s *Subnet) ip(args ...string) ([]byte, error) {
	return exec.Command("ip", args...).CombinedOutput()
}

func (s *Subnet) must(args ...string) {
	s.t.Helper()
	if out, err := s.ip(args...); err != nil {
		s.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// Expose serves the registry at a loopback host to the subnet and returns the
// host[:port] by which it is known there and here.
func (s *Subnet) Expose(host string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", s.prefix+"1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	proxy := httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: host})
		r.Out.Host = r.In.Host // locations must lead back here
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	server := &http.Server{Handler: &proxy}
	go server.Serve(l)
	s.t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// NetDaemon is a BuildKit daemon in a network namespace of its own.
type NetDaemon struct {
	// Addr is its tcp:// address.
	Addr string

	s    *Subnet
	name string
	cmd  *exec.Cmd
	argv []string
	log  string
}

// Daemon starts a daemon with the binaries given that speaks plain HTTP to the
// registry, and waits until it listens.
func (s *Subnet) Daemon(buildkitd, runc, registry string) *NetDaemon {
	t := s.t
	t.Helper()
	s.hosts++
	d := &NetDaemon{s: s, name: fmt.Sprintf("%sh%d", s.id, s.hosts)}
	s.must("netns", "add", d.name)
	t.Cleanup(func() { s.ip("netns", "del", d.name) })
	addr := fmt.Sprintf("%s%d", s.prefix, s.hosts+10)
	s.must("link", "add", d.name, "type", "veth", "peer", "name", "eth0", "netns", d.name)
	s.must("link", "set", d.name, "master", s.id, "up")
	s.must("-n", d.name, "addr", "add", addr+"/24", "dev", "eth0")
	s.must("-n", d.name, "link", "set", "eth0", "up")
	s.must("-n", d.name, "link", "set", "lo", "up")
	d.Addr = "tcp://" + addr + ":1234"

	dir := t.TempDir()
	config := fmt.Sprintf("root = %q\n[grpc]\naddress = [%q]\n[otel]\nsocketPath = %q\n[history]\nmaxEntries = 0\n[cdi]\ndisabled = true\n[worker.containerd]\nenabled = false\n[worker.oci]\nenabled = true\nsnapshotter = \"overlayfs\"\nbinary = %q\nnetworkMode = \"host\"\ngc = false\n[registry.%q]\nhttp = true\n",
		filepath.Join(dir, "root"), d.Addr, filepath.Join(dir, "otel.sock"), runc, registry)
	path := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	d.log = filepath.Join(dir, "log")
	// Steps die with the daemon: it is the first process of a namespace.
	d.argv = []string{"nsenter", "--net=/run/netns/" + d.name, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", buildkitd, "--config", path}
	d.Start()
	t.Cleanup(d.Kill)
	return d
}

// Start starts the daemon, again after Kill, and waits until it listens.
func (d *NetDaemon) Start() {
	t := d.s.t
	t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command(d.argv[0], d.argv[1:]...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", strings.TrimPrefix(d.Addr, "tcp://"))
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	data, _ := os.ReadFile(d.log)
	t.Fatalf("daemon %s does not listen: %s", d.Addr, data)
}

// Kill ends the daemon and its steps with SIGKILL, and waits for it.
func (d *NetDaemon) Kill() {
	if d.cmd == nil {
		return
	}
	_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	_ = d.cmd.Wait()
	d.cmd = nil
}

// Cut takes the daemon off the subnet, or joins it again: nothing is refused,
// nothing answers.
func (d *NetDaemon) Cut(off bool) {
	d.s.t.Helper()
	state := "up"
	if off {
		state = "down"
	}
	d.s.must("link", "set", d.name, state)
}
