// Command coredns is CoreDNS with only the plugins that answer for a cluster.
// The full server carries the clients of several clouds: six minutes more to
// compile, and twice the size.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

// A query passes the plugins in this order, whatever the Corefile's.
func init() {
	dnsserver.Directives = []string{"errors", "ready", "cache", "kubernetes", "forward"}
}

func main() { coremain.Run() }
