// Package ext is what Traefik embeds in its configuration for those who extend
// it. It is the folder pkg/config/dynamic/ext of its repository, which its
// module leaves out: two structs without fields.
package ext

// HTTP extends the HTTP configuration, by nothing.
type HTTP struct{}

// Router extends a router, by nothing.
type Router struct{}
