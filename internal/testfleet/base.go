package testfleet

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// The sizes of layers before compression at scale 1, in bytes.
const (
	osBytes       = 24 << 20
	envBytes      = 1 << 20
	instanceBytes = 32 << 10
)

// systemPath is the PATH of images without an environment.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// osLayer is the root file system below every base.
func osLayer(o Options) (blob, error) {
	l := newLayer()
	if o.OSTree != "" {
		l.tree(path.Clean(o.OSTree))
		if l.err == nil && l.buf.Len() == 0 {
			l.err = fmt.Errorf("%s is empty", o.OSTree)
		}
	} else {
		skeleton(l)
		if !o.Bare {
			if err := addBusybox(l); err != nil {
				return blob{}, err
			}
		}
	}
	l.dirs("usr/lib/fill")
	l.fill("usr/lib/fill", o.Seed, scaled(osBytes, o.Scale))
	return l.finish(false)
}

// scaled is n times the scale.
func scaled(n int64, scale float64) int64 { return int64(float64(n) * scale) }

// skeleton adds the folders and files that programs expect.
func skeleton(l *layer) {
	l.dirs("bin", "dev", "etc", "home", "lib", "opt", "proc", "root", "run", "sbin", "sys")
	l.add(dirHeader("tmp/", 0o1777), nil)
	l.dirs("usr", "usr/bin", "usr/lib", "usr/local", "usr/local/bin", "usr/local/lib", "usr/local/sbin",
		"usr/sbin", "usr/share", "var", "var/cache", "var/lib", "var/log")
	l.add(dirHeader("var/tmp/", 0o1777), nil)
	for name, text := range files([]string{
		"etc/group", "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n",
		"etc/hostname", "base\n",
		"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n",
		"etc/os-release", "ID=lapstrake-test\nNAME=\"Lapstrake test system\"\nVERSION_ID=1\n",
		"etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"etc/profile", "umask 022\n",
		"etc/shells", "/bin/sh\n",
	}) {
		l.file(name, 0o644, []byte(text))
	}
}

// files yields name and content from a flat list, in its order.
func files(list []string) func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		for pair := range slices.Chunk(list, 2) {
			if !yield(pair[0], pair[1]) {
				return
			}
		}
	}
}

// addUser is a stand-in for a tool that Debian's busybox does not have:
// "adduser [-D] [-u UID] [-h HOME] NAME".
const addUser = `#!/bin/sh
set -e
uid=1000 home=
while getopts Du:h: o; do
	case $o in u) uid=$OPTARG ;; h) home=$OPTARG ;; esac
done
shift $((OPTIND - 1))
home=${home:-/home/$1}
echo "$1:x:$uid:$uid:$1:$home:/bin/sh" >> /etc/passwd
echo "$1:x:$uid:" >> /etc/group
mkdir -p "$home"
chown "$uid:$uid" "$home"
`

// addBusybox adds the machine's static busybox, a link for each of its
// commands, and what it lacks.
func addBusybox(l *layer) error {
	data, list, err := busybox()
	if err != nil {
		return err
	}
	l.file("bin/busybox", 0o755, data)
	for _, name := range list {
		if name != "bin/busybox" {
			l.symlink(name, "/bin/busybox")
		}
	}
	l.file("usr/sbin/adduser", 0o755, []byte(addUser))
	return nil
}

// busybox reads the machine's busybox and asks it for its commands' paths.
func busybox() (data []byte, commands []string, err error) {
	const help = "apt-get install busybox-static"
	at, err := exec.LookPath("busybox")
	if err != nil {
		return nil, nil, diag.Errorf(diag.Infra, help, "busybox: %w", err)
	}
	if err := isStatic(at); err != nil {
		return nil, nil, diag.Errorf(diag.Infra, help, "busybox: %w", err)
	}
	if data, err = os.ReadFile(at); err != nil {
		return nil, nil, diag.Wrap(diag.Infra, "busybox", err)
	}
	out, err := exec.Command(at, "--list-full").Output()
	if err != nil {
		return nil, nil, diag.Wrap(diag.Infra, "busybox: list of commands", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		switch path.Dir(name) {
		case "bin", "sbin", "usr/bin", "usr/sbin":
			commands = append(commands, name)
		}
	}
	slices.Sort(commands)
	return data, slices.Compact(commands), nil
}

// isStatic returns an error when the program needs a loader, which the images
// do not have.
func isStatic(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New(file + " is not static")
		}
	}
	return nil
}

// envLayer is what the instances of one environment share.
func envLayer(o Options, env string) (blob, error) {
	l := newLayer()
	root := "opt/env/" + env
	l.dirs("opt", "opt/env", root, root+"/bin", root+"/lib")
	l.file(root+"/bin/python", 0o755, []byte("#!/bin/sh\necho "+env+"\n"))
	l.file(root+"/lib/version", 0o644, []byte(env+"\n"))
	l.fill(root+"/lib", o.Seed, scaled(envBytes, o.Scale))
	return l.finish(false)
}

// instanceLayer is the checkout of one instance.
func instanceLayer(o Options, id string, useZstd bool) (blob, error) {
	l := newLayer()
	repo, _ := splitID(id)
	_, short, _ := strings.Cut(repo, "__")
	if short == "" {
		short = repo
	}
	l.dirs("testbed", "testbed/"+short)
	l.file("testbed/instance", 0o644, []byte(id+"\n"))
	l.file("testbed/setup.cfg", 0o644, fmt.Appendf(nil, "[metadata]\nname = %s\n", short))
	n := scaled(instanceBytes, o.Scale)
	for i := range 8 {
		name := fmt.Sprintf("testbed/%s/part%d.py", short, i)
		l.file(name, 0o644, filler(o.Seed, id+name, max(n/8, 16)))
	}
	return l.finish(useZstd)
}
