package layout

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// problem is an answer that is an error; see the distribution specification.
type problem struct {
	status        int
	code, message string
}

// Error is the message.
func (p problem) Error() string { return p.message }

// request is one request about a repository.
type request struct {
	*http.Request
	l    *Layout
	w    http.ResponseWriter
	repo string // with the host that it stands in for
	path string // of the repository's API
	last string // the last part of the path
}

// routes lead from a path to what answers it, by method. A repository's name may
// hold the words that follow it, so the end of the path decides.
func routes() []route {
	return []route{
		{regexp.MustCompile(`^/v2/(.+)/tags/(list)$`), map[string]func(request) error{"GET": request.listTags}},
		{regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`), map[string]func(request) error{
			"GET": request.getManifest, "HEAD": request.getManifest, "PUT": request.putManifest, "DELETE": request.deleteManifest}},
		{regexp.MustCompile(`^/v2/(.+)/blobs/uploads/([^/]*)$`), map[string]func(request) error{
			"POST": request.begin, "PATCH": request.more, "PUT": request.finish}},
		{regexp.MustCompile(`^/v2/(.+)/blobs/([^/]+)$`), map[string]func(request) error{"GET": request.getBlob, "HEAD": request.getBlob}},
	}
}

type route struct {
	path    *regexp.Regexp
	methods map[string]func(request) error
}

// Handler answers the requests that pushing and pulling images takes, as the
// registry host would. What writes is refused until the layout is locked.
func (l *Layout) Handler(host string) http.Handler {
	all := routes()
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
		if q.URL.Path == "/v2/" {
			return
		}
		err := error(problem{http.StatusNotFound, "UNSUPPORTED", "there is nothing at this path"})
		for _, r := range all {
			m := r.path.FindStringSubmatch(q.URL.Path)
			if m == nil {
				continue
			}
			answer := r.methods[q.Method]
			switch {
			case answer == nil:
				err = problem{http.StatusMethodNotAllowed, "UNSUPPORTED", "this cannot be done"}
			case q.Method != "GET" && q.Method != "HEAD" && l.lock.Load() == nil:
				err = problem{http.StatusForbidden, "DENIED", "the layout is only read"}
			default:
				err = answer(request{q, l, w, host + "/" + m[1], "/v2/" + m[1], m[2]})
			}
			break
		}
		if err != nil {
			fail(w, err)
		}
	})
}

// fail sends an error.
func fail(w http.ResponseWriter, err error) {
	var p problem
	if !errors.As(err, &p) {
		p = problem{http.StatusInternalServerError, "UNKNOWN", err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	// A client that is gone reads nothing.
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": p.code, "message": p.message}}})
}

func (r request) listTags() error {
	tags, ok := r.l.tags(r.repo)
	if !ok {
		return problem{http.StatusNotFound, "NAME_UNKNOWN", "there is no such repository"}
	}
	r.w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(r.w).Encode(map[string]any{"name": r.repo, "tags": tags})
}

func (r request) getManifest() error {
	unknown := problem{http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no such manifest"}
	desc, ok := r.l.manifest(r.repo, r.last)
	if !ok || string(desc.Digest) != r.last && !r.l.mirrored(r.repo, r.last, desc) {
		return unknown
	}
	return r.send(desc.Digest, desc.MediaType, unknown)
}

func (r request) getBlob() error {
	return r.send(digest.Digest(r.last), "application/octet-stream", problem{http.StatusNotFound, "BLOB_UNKNOWN", "there is no such blob"})
}

// send answers with a blob, or a range of it.
func (r request) send(d digest.Digest, mediaType string, missing problem) error {
	if d.Validate() != nil {
		return problem{http.StatusBadRequest, "DIGEST_INVALID", "the digest is not valid"}
	}
	f, err := os.Open(r.l.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r.w.Header().Set("Content-Type", mediaType)
	r.w.Header().Set("Docker-Content-Digest", string(d))
	http.ServeContent(r.w, r.Request, "", time.Time{}, f)
	return nil
}

// putManifest accepts a manifest whose parts are there.
func (r request) putManifest() error {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		return err
	}
	if len(data) > maxManifest {
		return problem{http.StatusRequestEntityTooLarge, "MANIFEST_INVALID", "the manifest is too large"}
	}
	p, err := parse(data)
	if err != nil {
		return problem{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}
	}
	desc := specs.Descriptor{MediaType: p.mediaType(r.Header.Get("Content-Type")), Digest: digest.FromBytes(data), Size: int64(len(data))}
	tag := r.last
	if d := digest.Digest(tag); d.Validate() == nil {
		tag, desc.Digest = "", d
		if d != d.Algorithm().FromBytes(data) {
			return problem{http.StatusBadRequest, "DIGEST_INVALID", errDigest.Error()}
		}
	}
	if err := r.l.complete(p); err != nil {
		return problem{http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", err.Error()}
	}
	if r.l.size(desc.Digest) != desc.Size {
		upload, err := os.CreateTemp(r.l.dir, uploadPrefix)
		if err == nil {
			_, err = upload.Write(data)
		}
		if err := r.l.settle(upload, r.l.path(desc.Digest), err); err != nil {
			return err
		}
	}
	if err := r.l.publish(r.repo, tag, desc); err != nil {
		return err
	}
	if err := r.l.load(r.Context(), r.repo, tag, desc); err != nil {
		return problem{http.StatusUnprocessableEntity, "DENIED", err.Error()}
	}
	return r.created(desc.Digest, "manifests")
}

// created says that something is there now.
func (r request) created(d digest.Digest, kind string) error {
	r.w.Header().Set("Location", r.path+"/"+kind+"/"+string(d))
	r.w.Header().Set("Docker-Content-Digest", string(d))
	r.w.WriteHeader(http.StatusCreated)
	return nil
}

func (r request) deleteManifest() error {
	desc, ok := r.l.manifest(r.repo, r.last)
	if !ok {
		return problem{http.StatusNotFound, "MANIFEST_UNKNOWN", "there is no such manifest"}
	}
	if err := r.l.unload(r.Context(), r.repo, desc.Digest); err != nil {
		return problem{http.StatusConflict, "DENIED", err.Error()}
	}
	if err := r.l.remove(r.repo, desc.Digest); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusAccepted)
	return nil
}

// begin grants a mount when the blob is there, wherever it came from, and opens
// an upload otherwise.
func (r request) begin() error {
	if d := digest.Digest(r.URL.Query().Get("mount")); r.l.size(d) >= 0 {
		return r.created(d, "blobs")
	}
	id := rand.Text()
	f, err := os.OpenFile(r.upload(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), r.accepted(id, 0))
}

// upload is the file of an upload.
func (r request) upload(id string) string { return filepath.Join(r.l.dir, uploadPrefix+id) }

// accepted says that an upload goes on.
func (r request) accepted(id string, size int64) error {
	r.w.Header().Set("Location", r.path+"/blobs/uploads/"+id)
	r.w.Header().Set("Range", "0-"+strconv.FormatInt(max(0, size-1), 10))
	r.w.WriteHeader(http.StatusAccepted)
	return nil
}

// resume opens the file of an upload.
func (r request) resume(flags int) (*os.File, error) {
	f, err := os.OpenFile(r.upload(r.last), flags, 0)
	if errors.Is(err, fs.ErrNotExist) || r.last == "" {
		return nil, problem{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload"}
	}
	return f, err
}

// more adds to an upload.
func (r request) more() error {
	f, err := r.resume(os.O_WRONLY | os.O_APPEND)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if from := r.Header.Get("Content-Range"); from != "" {
		var first, last int64
		if _, err := fmt.Sscanf(from, "%d-%d", &first, &last); err != nil || first != size {
			return problem{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "the upload does not go on there"}
		}
	}
	n, err := io.Copy(f, r.Body)
	if err != nil {
		return err
	}
	return r.accepted(r.last, size+n)
}

// finish makes an upload a blob. One that fails is over: a part of its body may
// have arrived.
func (r request) finish() error {
	d := digest.Digest(r.URL.Query().Get("digest"))
	if d.Validate() != nil {
		return problem{http.StatusBadRequest, "DIGEST_INVALID", "the digest is not valid"}
	}
	f, err := r.resume(os.O_RDWR)
	if err != nil {
		return err
	}
	switch err := r.l.receive(f, d, r.Body); {
	case errors.Is(err, errDigest):
		return problem{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	case err != nil:
		return err
	}
	return r.created(d, "blobs")
}
