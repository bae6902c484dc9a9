package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
)

// Table is the name of nftables' table that holds a ruleset.
const Table = "remora-policy"

// Nft is the ruleset as nftables reads it: one transaction, which puts the table
// in place of the one before. Packets see the old rules or the new ones, never
// none and never half.
//
// What a pod sends passes the hook `forward`, or `input` where it is for its own
// node. What its node sends it passes neither.
func (r Ruleset) Nft() string {
	var b strings.Builder
	line := func(format string, words ...any) { fmt.Fprintf(&b, format+"\n", words...) }
	line("table ip %s", Table)
	line("delete table ip %s", Table)
	line("table ip %s {", Table)
	line("set covered { type ipv4_addr; %s}", elements(r.Covered, netip.Addr.String))
	itself := func(a netip.Addr) string { return a.String() + " . " + a.String() }
	line("set itself { type ipv4_addr . ipv4_addr; %s}", elements(r.Covered, itself))
	for _, way := range []struct {
		name, peer string
		sides      map[netip.Addr]Side
	}{{"egress", "daddr", r.Egress}, {"ingress", "saddr", r.Ingress}} {
		isolated := slices.SortedFunc(maps.Keys(way.sides), netip.Addr.Compare)
		for _, pod := range isolated {
			line("chain %s-%s {", way.name, pod)
			for _, allow := range way.sides[pod] {
				for _, match := range allow.matches(way.peer) {
					line("%s return", match)
				}
			}
			line("drop")
			line("}")
		}
		jump := func(a netip.Addr) string { return fmt.Sprintf("%s : jump %s-%s", a, way.name, a) }
		line("map %s { type ipv4_addr : verdict; %s}", way.name, elements(isolated, jump))
	}
	line("chain judge {")
	// The answer of a receiver that was allowed. What the opener sends is judged
	// packet by packet, so that a policy also ends what stands.
	line("ct direction reply ct state established accept")
	line("ct state related accept")
	// Of a connection that was cut, or of none.
	line("ct state invalid drop")
	line("ip saddr %s ip saddr != @covered drop", r.Range)
	line("ip saddr . ip daddr @itself accept")
	line("ip saddr vmap @egress")
	line("ip daddr vmap @ingress")
	line("}")
	line("chain forward { type filter hook forward priority filter; policy accept;")
	line("ip daddr %s ip daddr != @covered drop", r.Range)
	line("ip saddr != %s ip daddr != %s accept", r.Range, r.Range)
	line("jump judge")
	line("}")
	line("chain input { type filter hook input priority filter; policy accept;")
	line("iifname lo accept")
	line("ip saddr %s jump judge", r.Range)
	line("}")
	line("}")
	return b.String()
}

// elements of a set, where it has any.
func elements(addresses []netip.Addr, text func(netip.Addr) string) string {
	if len(addresses) == 0 {
		return ""
	}
	words := make([]string, len(addresses))
	for i, address := range addresses {
		words[i] = text(address)
	}
	return "elements = { " + strings.Join(words, ", ") + " } "
}

// matches has the conditions of which one must hold, in nftables' words.
func (a Allow) matches(peer string) []string {
	var peers, ports, matches []string
	if a.Peers.Any {
		peers = []string{""}
	} else {
		peers = a.Peers.matches(peer)
	}
	if len(a.Ports) == 0 {
		ports = []string{""}
	}
	for _, protocol := range []core.Protocol{core.ProtocolTCP, core.ProtocolUDP, core.ProtocolSCTP} {
		if ranges := merged(a.Ports, protocol); len(ranges) > 0 {
			ports = append(ports, fmt.Sprintf("%s dport { %s }", strings.ToLower(string(protocol)), strings.Join(ranges, ", ")))
		}
	}
	for _, peer := range peers {
		for _, port := range ports {
			matches = append(matches, strings.TrimSpace(peer+" "+port))
		}
	}
	return matches
}

func (p Peers) matches(peer string) []string {
	var whole []netip.Prefix
	var matches []string
	for _, block := range p.Blocks {
		if !block.Prefix.Addr().Is4() {
			// The rig's pods have no other addresses.
			continue
		}
		if len(block.Except) == 0 {
			whole = append(whole, block.Prefix)
			continue
		}
		except := strings.Join(disjoint(block.Except), ", ")
		matches = append(matches, fmt.Sprintf("ip %s %s ip %s != { %s }", peer, block.Prefix, peer, except))
	}
	if len(whole) > 0 {
		matches = append(matches, fmt.Sprintf("ip %s { %s }", peer, strings.Join(disjoint(whole), ", ")))
	}
	return matches
}

// disjoint leaves out the ranges that lie in another: a set of nftables takes
// no two that overlap, and ranges of addresses overlap in no other way.
func disjoint(prefixes []netip.Prefix) []string {
	prefixes = slices.Clone(prefixes)
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	var kept []netip.Prefix
	for _, prefix := range prefixes {
		if !slices.ContainsFunc(kept, func(wider netip.Prefix) bool { return wider.Overlaps(prefix) }) {
			kept = append(kept, prefix)
		}
	}
	words := make([]string, len(kept))
	for i, prefix := range kept {
		words[i] = prefix.String()
	}
	return words
}

// merged has the ranges of one protocol, none of which touches another.
func merged(all []Ports, protocol core.Protocol) []string {
	var ranges []Ports
	for _, one := range all {
		if one.Protocol == protocol && one.From <= one.To {
			ranges = append(ranges, one)
		}
	}
	slices.SortFunc(ranges, func(a, b Ports) int { return int(a.From) - int(b.From) })
	var words []string
	for i := 0; i < len(ranges); {
		from, to := ranges[i].From, ranges[i].To
		for i++; i < len(ranges) && int(ranges[i].From) <= int(to)+1; i++ {
			to = max(to, ranges[i].To)
		}
		words = append(words, fmt.Sprintf("%d-%d", from, to))
	}
	return words
}
