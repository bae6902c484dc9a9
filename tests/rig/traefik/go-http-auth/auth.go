// Package auth has the names of go-http-auth that Traefik's middlewares basicAuth
// and digestAuth call. Traefik's own fork of that module is not to be had, and no
// route of a project asks for passwords: both middlewares refuse everybody.
package auth

import "net/http"

// SecretProvider has the secret of a user.
type SecretProvider func(user, realm string) string

// CheckSecret finds no password right.
func CheckSecret(_, _ string) bool { return false }

// BasicAuth refuses.
type BasicAuth struct {
	Realm   string
	Secrets SecretProvider
}

// RequireAuth answers that nobody is let in.
func (*BasicAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// DigestAuth refuses.
type DigestAuth struct{}

// NewDigestAuthenticator keeps none of its arguments.
func NewDigestAuthenticator(_ string, _ SecretProvider) *DigestAuth { return &DigestAuth{} }

// CheckAuth knows nobody.
func (*DigestAuth) CheckAuth(*http.Request) (username string, authinfo *string) { return "", nil }

// RequireAuth answers that nobody is let in.
func (*DigestAuth) RequireAuth(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// RequireAuthStale does as RequireAuth.
func (*DigestAuth) RequireAuthStale(w http.ResponseWriter, _ *http.Request) { refuse(w) }

// DigestAuthParams reads nothing.
func DigestAuthParams(string) map[string]string { return nil }

func refuse(w http.ResponseWriter) {
	http.Error(w, "this Traefik was built without passwords", http.StatusUnauthorized)
}
