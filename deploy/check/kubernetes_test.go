package check

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"
)

// decode reads manifests strictly, as the types of Kubernetes' API: a field that
// is not known, twice there, or of another type is an error.
func decode(text []byte) (map[string]any, error) {
	out := map[string]any{}
	for _, doc := range bytes.Split(append([]byte("\n"), text...), []byte("\n---\n")) {
		var head struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal(doc, &head); err != nil {
			return nil, err
		}
		if head.Kind == "" {
			continue
		}
		object := map[string]any{
			"ConfigMap": &core.ConfigMap{}, "Service": &core.Service{}, "Secret": &core.Secret{}, "PersistentVolumeClaim": &core.PersistentVolumeClaim{},
			"StatefulSet": &apps.StatefulSet{}, "Job": &batch.Job{}, "NetworkPolicy": &networking.NetworkPolicy{},
		}[head.Kind]
		if err := yaml.UnmarshalStrict(doc, object, yaml.DisallowUnknownFields); err != nil {
			return nil, err
		}
		out[head.Kind+"/"+head.Metadata.Name] = object
	}
	return out, nil
}

func manifests(t *testing.T, path string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, err := decode(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if _, err := decode(bytes.Replace(text, []byte("containers:"), []byte("contaners:"), 1)); err == nil {
		t.Fatalf("%s: a field that is not known is not found", path)
	}
	return out
}

// TestManifests holds that both files are what the API knows, and that they fit
// each other.
func TestManifests(t *testing.T) {
	daemons, driver, secrets := manifests(t, "../kubernetes/buildkit.yaml"), manifests(t, "../kubernetes/job.yaml"), certificates(t)
	set, job := daemons["StatefulSet/buildkit"].(*apps.StatefulSet), driver["Job/lapstrake"].(*batch.Job)
	if _, ok := daemons["Service/"+set.Spec.ServiceName]; !ok {
		t.Errorf("there is no service %s", set.Spec.ServiceName)
	}
	workers := 0
	for _, arg := range job.Spec.Template.Spec.Containers[0].Args {
		if host, ok := strings.CutPrefix(arg, "--worker=tcp://buildkit-"); ok {
			workers++
			if !strings.HasSuffix(host, "."+set.Spec.ServiceName+":1234") {
				t.Errorf("%s is none of the daemons", arg)
			}
		}
	}
	if workers != int(*set.Spec.Replicas) {
		t.Errorf("%d workers for %d daemons", workers, *set.Spec.Replicas)
	}
	for _, pod := range []core.PodSpec{set.Spec.Template.Spec, job.Spec.Template.Spec} {
		volumes := map[string]bool{"state": true}
		for _, v := range pod.Volumes {
			volumes[v.Name] = true
			if v.Secret != nil && strings.HasPrefix(v.Secret.SecretName, "buildkit-") && secrets["Secret/"+v.Secret.SecretName] == nil {
				t.Errorf("nothing makes the secret %s", v.Secret.SecretName)
			}
		}
		c := pod.Containers[0]
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s mounts %s, which is not there", c.Name, m.Name)
			}
		}
		for _, arg := range c.Args {
			if _, file, ok := strings.Cut(arg, "=/certs/"); ok && secrets["Secret/buildkit-daemon"].(*core.Secret).Data[file] == nil {
				t.Errorf("%s: no secret holds %s", arg, file)
			}
		}
	}
}

func certificates(t *testing.T) map[string]any {
	t.Helper()
	out, err := exec.Command("../kubernetes/certs", "builds").Output()
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	return secrets
}

// TestCertificates lets a daemon and a client meet with the certificates that the
// script makes, by each name that a daemon has, and nobody without one.
func TestCertificates(t *testing.T) {
	secrets := certificates(t)
	daemon, client := secrets["Secret/buildkit-daemon"].(*core.Secret), secrets["Secret/buildkit-client"].(*core.Secret)
	if daemon.Namespace != "builds" {
		t.Errorf("namespace %q", daemon.Namespace)
	}
	pair := func(s *core.Secret) tls.Certificate {
		c, err := tls.X509KeyPair(s.Data["cert.pem"], s.Data["key.pem"])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ca := x509.NewCertPool()
	if !ca.AppendCertsFromPEM(client.Data["ca.pem"]) || !bytes.Equal(client.Data["ca.pem"], daemon.Data["ca.pem"]) {
		t.Fatal("no authority, or two")
	}
	server := &tls.Config{Certificates: []tls.Certificate{pair(daemon)}, ClientCAs: ca, ClientAuth: tls.RequireAndVerifyClientCert}
	ours := []tls.Certificate{pair(client)}
	for _, tt := range []struct {
		host string
		with []tls.Certificate
		ok   bool
	}{
		{"buildkit-0.buildkit", ours, true},
		{"buildkit-11.buildkit.builds.svc.cluster.local", ours, true},
		{"buildkit.builds.svc", ours, true},
		{"localhost", ours, true},
		{"buildkit-0.elsewhere", ours, false},
		{"buildkit-0.buildkit", nil, false},
		{"buildkit-0.buildkit", []tls.Certificate{pair(daemon)}, false},
	} {
		err := meet(server, &tls.Config{RootCAs: ca, ServerName: tt.host, Certificates: tt.with})
		if (err == nil) != tt.ok {
			t.Errorf("%s with %d certificates: %v", tt.host, len(tt.with), err)
		}
	}
}

// meet shakes hands; the error is the server's, or else the client's.
func meet(server, client *tls.Config) error {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	a.SetDeadline(time.Now().Add(time.Minute))
	ended := make(chan error, 1)
	go func() {
		c := tls.Client(b, client)
		err := c.Handshake()
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // a refusal comes after the handshake
		}
		b.Close()
		ended <- err
	}()
	s := tls.Server(a, server)
	err := s.Handshake()
	if err == nil {
		_, err = s.Write([]byte{1})
	}
	a.Close()
	if clientErr := <-ended; err == nil {
		err = clientErr
	}
	return err
}
