package policy

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The kernel takes every ruleset that may come: in a network namespace that ends
// with each try.
func TestNftablesTakesGeneratedRulesets(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("nftables needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	random := rand.New(rand.NewPCG(1, 0))
	var all strings.Builder
	for range 200 {
		all.WriteString(Compile(generate(random), nodes[0]).Nft())
	}
	load := exec.Command("unshare", "--net", "nft", "--file", "-")
	load.Stdin = strings.NewReader(all.String())
	if output, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}
