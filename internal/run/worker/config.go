package worker

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/lapstrake/lapstrake/internal/model/diag"
	"github.com/lapstrake/lapstrake/internal/model/fleet"
)

const defaultRegistryConnections = 16

// config is the part of buildkitd.toml that is set.
type config struct {
	Root         string                    `toml:"root"`
	Entitlements []string                  `toml:"insecure-entitlements"`
	GRPC         grpcConfig                `toml:"grpc"`
	OTEL         otelConfig                `toml:"otel"`
	CDI          cdiConfig                 `toml:"cdi"`
	History      historyConfig             `toml:"history"`
	System       systemConfig              `toml:"system"`
	Worker       workerConfig              `toml:"worker"`
	Registry     map[string]registryConfig `toml:"registry,omitempty"`
}

type grpcConfig struct {
	Address []string `toml:"address"`
}

type otelConfig struct {
	SocketPath string `toml:"socketPath"`
}

type cdiConfig struct {
	Disabled bool `toml:"disabled"`
}

type historyConfig struct {
	MaxEntries int `toml:"maxEntries"`
}

type systemConfig struct {
	MaxRegistryConcurrency int `toml:"maxRegistryConcurrency"`
}

type workerConfig struct {
	OCI        ociConfig        `toml:"oci"`
	Containerd containerdConfig `toml:"containerd"`
}

type containerdConfig struct {
	Enabled bool `toml:"enabled"`
}

type ociConfig struct {
	Enabled      bool     `toml:"enabled"`
	Snapshotter  string   `toml:"snapshotter"`
	Binary       string   `toml:"binary"`
	NetworkMode  string   `toml:"networkMode"`
	CgroupParent string   `toml:"defaultCgroupParent"`
	Platforms    []string `toml:"platforms,omitempty"`
	GC           bool     `toml:"gc"`
}

type registryConfig struct {
	Mirrors []string `toml:"mirrors,omitempty"`
	HTTP    *bool    `toml:"http,omitempty"`
	CA      []string `toml:"ca,omitempty"`
}

// paths are the places that a daemon uses.
type paths struct {
	state, root, config, log, lock, temp, ballast string
	sockets                                       string // folder of the sockets
	socket, otel                                  string
	cgroup                                        string // name of the control group
}

// address is where clients find the daemon.
func (p paths) address() string { return "unix://" + p.socket }

func newConfig(p paths, runc string, opt Options) config {
	c := config{
		Root:         p.root,
		Entitlements: []string{"network.host"},
		GRPC:         grpcConfig{Address: []string{p.address()}},
		// The default path is one for all daemons of the machine.
		OTEL: otelConfig{SocketPath: p.otel},
		CDI:  cdiConfig{Disabled: true},
		// Every entry keeps blobs that disk usage does not count; 0 keeps none.
		History: historyConfig{MaxEntries: opt.History},
		System:  systemConfig{MaxRegistryConcurrency: connections(opt)},
		Worker: workerConfig{OCI: ociConfig{
			Enabled: true, Binary: runc, Platforms: opt.Platforms,
			// Not "auto": its last resort copies every layer whole.
			Snapshotter: "overlayfs",
			NetworkMode: "host",
			// Steps are put below the daemon's group, so that they can be
			// killed when it is gone.
			CgroupParent: p.cgroup,
			// What is dead is known by the caller and released by name.
			GC: false,
		}},
		Registry: map[string]registryConfig{},
	}
	if opt.AllowInsecure {
		c.Entitlements = append(c.Entitlements, "security.insecure")
	}
	for _, r := range opt.Registries {
		c.Registry[r.Host] = newRegistryConfig(r)
	}
	return c
}

func newRegistryConfig(r fleet.Registry) registryConfig {
	c := registryConfig{Mirrors: r.Mirrors}
	if r.HTTP {
		// Left out otherwise: the daemon's default is HTTP for loopback hosts only.
		yes := true
		c.HTTP = &yes
	}
	if r.CAFile != "" {
		c.CA = []string{r.CAFile}
	}
	return c
}

// connections is the daemon's one limit for all registries, at least the
// highest that one of them asks for.
func connections(opt Options) int {
	n := opt.RegistryConnections
	if n == 0 {
		n = defaultRegistryConnections
	}
	for _, r := range opt.Registries {
		n = max(n, r.Concurrency)
	}
	return n
}

func (c config) write(path string) error {
	data, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, data, 0o600)
}

// environment is what the daemon sees of ours: enough to find programs, to
// reach registries and to be tuned, and nothing that may be a secret.
func environment(env []string, temp string, registries []fleet.Registry) ([]string, error) {
	proxy, direct, err := proxies(registries)
	if err != nil {
		return nil, err
	}
	var out []string
	noProxy := ""
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		switch upper := strings.ToUpper(name); {
		case upper == "NO_PROXY":
			noProxy = value
		case proxy != "" && (upper == "HTTP_PROXY" || upper == "HTTPS_PROXY"):
		case slices.Contains(passed, upper), strings.HasPrefix(name, "BUILDKIT_"):
			out = append(out, kv)
		}
	}
	out = append(out, "TMPDIR="+temp)
	if proxy != "" {
		out = append(out, "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy)
		noProxy = strings.Join(append(strings.FieldsFunc(noProxy, func(r rune) bool { return r == ',' }), direct...), ",")
	}
	if noProxy != "" {
		out = append(out, "NO_PROXY="+noProxy)
	}
	return out, nil
}

var passed = []string{
	"PATH", "HOME", "USER", "LANG", "TZ",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	"GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG",
}

// proxies returns the one proxy that registries ask for, and the hosts of those
// that ask for none, which must then be reached directly.
func proxies(registries []fleet.Registry) (proxy string, direct []string, err error) {
	host := ""
	for _, r := range registries {
		switch {
		case r.Proxy == "":
			direct = append(direct, r.Host)
		case proxy == "":
			proxy, host = r.Proxy, r.Host
		case proxy != r.Proxy:
			return "", nil, diag.Errorf(diag.File, "give them the same proxy, or use --worker with a daemon that is set up for both",
				"registries %s and %s have different proxies: the embedded daemon has one", host, r.Host)
		}
	}
	return proxy, direct, nil
}
