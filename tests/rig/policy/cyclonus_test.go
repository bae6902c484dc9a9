package policy

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The bounds of one run: some seconds, and enough that each kind of peer meets
// each kind of port many times.
const (
	clusters          = 2000
	packetsPerCluster = 250
)

// Cyclonus is another reading of what NetworkPolicies mean, by other people. On
// generated clusters it and the rulesets of all nodes together decide the same
// about every packet.
func TestDecidesAsCyclonusDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 0))
	var passed, blocked int
	for range clusters {
		cluster := generate(random)
		reference := matcher.BuildNetworkPolicies(false, withDefaults(cluster.Policies))
		rules := map[string]Ruleset{}
		for _, node := range nodes {
			rules[node.Name] = Compile(cluster, node)
		}
		for range packetsPerCluster {
			packet, name := traffic(random, cluster)
			wanted := reference.IsTrafficAllowed(&matcher.Traffic{
				Source: cluster.peer(packet.Source), Destination: cluster.peer(packet.Destination),
				ResolvedPort: int(packet.Port), ResolvedPortName: name, Protocol: packet.Protocol,
			}).IsAllowed()
			decided := true
			for _, node := range nodes {
				decided = decided && rules[node.Name].Allows(packet)
			}
			if decided != wanted {
				text, _ := yaml.Marshal(cluster)
				t.Fatalf("%+v (port %q): allowed %t, but by cyclonus %t\n%s", packet, name, decided, wanted, text)
			}
			if decided {
				passed++
			} else {
				blocked++
			}
		}
	}
	t.Logf("%d packets pass, %d are blocked", passed, blocked)
	// A generator that lost its variety would agree with anything.
	if total := passed + blocked; passed < total/10 || blocked < total/10 {
		t.Errorf("%d of %d packets pass: hardly a choice was left", passed, total)
	}
}

// seedOf is another one in each run, which the log names; POLICY_SEED repeats it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("POLICY_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("POLICY_SEED: %v", err)
		}
	}
	t.Logf("POLICY_SEED=%d", seed)
	return seed
}

// peer is what cyclonus knows of an address.
func (c Cluster) peer(address netip.Addr) *matcher.TrafficPeer {
	peer := &matcher.TrafficPeer{IP: address.String()}
	for _, pod := range c.Pods {
		if pod.Address == address {
			peer.Internal = &matcher.InternalPeer{
				PodLabels: pod.Labels, Namespace: pod.Namespace, NamespaceLabels: c.Namespaces[pod.Namespace],
			}
		}
	}
	return peer
}

// traffic opens a connection between two pods, or a pod and an outside host, at
// a port that policies may name.
func traffic(random *rand.Rand, cluster Cluster) (Packet, string) {
	addresses := append([]netip.Addr{}, outside...)
	for _, pod := range cluster.Pods {
		addresses = append(addresses, pod.Address)
	}
	packet := Packet{Source: pick(random, addresses), Destination: pick(random, addresses)}
	for packet.Source == packet.Destination {
		packet.Destination = pick(random, addresses)
	}
	packet.Protocol = pick(random, protocols)
	packet.Port = pick(random, portNumbers)
	for _, pod := range cluster.Pods {
		if pod.Address != packet.Destination {
			continue
		}
		for _, port := range pod.Ports {
			if port.Protocol == packet.Protocol && uint16(port.ContainerPort) == packet.Port {
				return packet, port.Name
			}
		}
	}
	return packet, ""
}

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// some is a part of them, often none and often few.
func some[T any](random *rand.Rand, most int, make func() T) []T {
	var made []T
	for range random.IntN(most + 1) {
		made = append(made, make())
	}
	return made
}

func address(text string) netip.Addr { return netip.MustParseAddr(text) }

var protocols = []core.Protocol{core.ProtocolTCP, core.ProtocolUDP, core.ProtocolSCTP}
