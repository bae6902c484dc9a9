// Package policy decides what NetworkPolicies mean: from the objects in a
// cluster to a ruleset for one node. It touches no network and no API server.
package policy

import (
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
)

// Ruleset is what one node enforces: of the pods that run there, which are
// isolated, and what is allowed to and from those.
type Ruleset struct {
	// Range has the addresses that pods of the node get.
	Range netip.Prefix
	// Own are the node's own addresses. What comes from one of them passes: the
	// kubelet probes the pods of its node, whatever the policies.
	Own []netip.Addr
	// Covered are the node's pods that this ruleset knows. An address of Range
	// that is none of them is a pod too young for it, and gets nothing through.
	Covered []netip.Addr
	// Ingress and Egress have a side for each pod that is isolated there.
	Ingress, Egress map[netip.Addr]Side
}

// Side is what an isolated pod may receive, or send. Nothing else passes.
type Side []Allow

// Allow lets traffic pass with one of the peers, to one of the ports.
type Allow struct {
	Peers Peers
	// Ports of the receiver. None means any, of any protocol.
	Ports []Ports
}

// Peers are addresses; Any means all.
type Peers struct {
	Any    bool
	Blocks []Block
}

// Block is a range of addresses without some.
type Block struct {
	Prefix netip.Prefix
	Except []netip.Prefix
}

// Ports is a range of ports, both ends in it, of one protocol.
type Ports struct {
	Protocol core.Protocol
	From, To uint16
}

// Packet is one that opens a connection, as the node sees it once a Service's
// address was replaced by a pod's.
type Packet struct {
	Source, Destination netip.Addr
	Protocol            core.Protocol
	Port                uint16
}

// Allows says whether a packet passes. The rules that the kernel is given
// (nft.go) are this function, line by line.
func (r Ruleset) Allows(p Packet) bool {
	if slices.Contains(r.Own, p.Source) {
		return true
	}
	if r.young(p.Source) || (r.young(p.Destination) && !slices.Contains(r.Own, p.Destination)) {
		return false
	}
	// No policy keeps a pod from itself.
	if p.Source == p.Destination {
		return true
	}
	if side, isolated := r.Egress[p.Source]; isolated && !side.allows(p.Destination, p) {
		return false
	}
	if side, isolated := r.Ingress[p.Destination]; isolated && !side.allows(p.Source, p) {
		return false
	}
	return true
}

func (r Ruleset) young(address netip.Addr) bool {
	return r.Range.Contains(address) && !slices.Contains(r.Covered, address)
}

func (s Side) allows(peer netip.Addr, p Packet) bool {
	return slices.ContainsFunc(s, func(a Allow) bool { return a.Peers.contain(peer) && a.takes(p) })
}

func (a Allow) takes(p Packet) bool {
	return len(a.Ports) == 0 || slices.ContainsFunc(a.Ports, func(ports Ports) bool {
		return ports.Protocol == p.Protocol && ports.From <= p.Port && p.Port <= ports.To
	})
}

func (p Peers) contain(address netip.Addr) bool {
	return p.Any || slices.ContainsFunc(p.Blocks, func(b Block) bool { return b.contains(address) })
}

func (b Block) contains(address netip.Addr) bool {
	return b.Prefix.Contains(address) &&
		!slices.ContainsFunc(b.Except, func(except netip.Prefix) bool { return except.Contains(address) })
}
