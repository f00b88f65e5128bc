package layout

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/lapstrake/lapstrake/internal/model/diag"
)

// User is the name that a server asks for, with its password.
const User = "lapstrake"

// stopWithin bounds the wait for requests when a server ends.
const stopWithin = 5 * time.Second

// Server answers for registry hosts with a layout, each at a loopback address of
// its own. Whoever else is on the machine reaches these too, so they ask for a
// password that only this process knows.
type Server struct {
	password string
	addrs    map[string]string
	servers  []*http.Server
}

// Serve begins to answer for the hosts, until [Server.Close].
func Serve(l *Layout, hosts []string) (*Server, error) {
	s := &Server{password: rand.Text(), addrs: map[string]string{}}
	for _, host := range hosts {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, diag.Wrap(diag.Infra, "serve the layout", errors.Join(err, s.Close()))
		}
		s.addrs[host] = ln.Addr().String()
		h := &http.Server{Handler: s.guard(l.Handler(host)), ReadHeaderTimeout: 10 * time.Second}
		s.servers = append(s.servers, h)
		go h.Serve(ln)
	}
	return s, nil
}

// Addr is host:port of what answers for a registry host; empty when nothing does.
func (s *Server) Addr(host string) string { return s.addrs[host] }

// Password is what [User] logs in with.
func (s *Server) Password() string { return s.password }

// Close ends the server when its requests have ended, or after a while.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	var errs []error
	for _, h := range s.servers {
		if err := h.Shutdown(ctx); err != nil {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}

// guard asks for the password.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		user, pass, _ := q.BasicAuth()
		if user != User || subtle.ConstantTimeCompare([]byte(pass), []byte(s.password)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="layout"`)
			fail(w, problem{http.StatusUnauthorized, "UNAUTHORIZED", "log in"})
			return
		}
		next.ServeHTTP(w, q)
	})
}
