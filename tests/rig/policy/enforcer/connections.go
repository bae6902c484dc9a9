package enforcer

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	core "k8s.io/api/core/v1"

	"remora/rig/policy"
)

// cut ends the connections that stand and that a ruleset does not allow, and all
// that an address had before it was given to another pod. The node is set up to
// take no connection up in its middle (nf_conntrack_tcp_loose), so what is cut
// stays cut from both ends.
func cut(rules policy.Ruleset, fresh map[netip.Addr]bool) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, filter{rules, fresh})
	if err != nil {
		return fmt.Errorf("conntrack: %w", err)
	}
	return nil
}

type filter struct {
	rules policy.Ruleset
	fresh map[netip.Addr]bool
}

// MatchConntrackFlow says whether a connection must go.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	// Who answers is whom the packets reach, whatever address they were sent to.
	source, fine := netip.AddrFromSlice(flow.Forward.SrcIP.To4())
	destination, too := netip.AddrFromSlice(flow.Reverse.SrcIP.To4())
	if !fine || !too {
		return false
	}
	if f.fresh[source] || f.fresh[destination] {
		return true
	}
	protocol := protocols[flow.Forward.Protocol]
	if protocol == "" {
		// Of others there are no ports: the ruleset judges each packet.
		return false
	}
	return !f.rules.Allows(policy.Packet{
		Source: source, Destination: destination, Protocol: protocol, Port: flow.Reverse.SrcPort,
	})
}

// By their numbers in IP.
var protocols = map[uint8]core.Protocol{6: core.ProtocolTCP, 17: core.ProtocolUDP, 132: core.ProtocolSCTP}
