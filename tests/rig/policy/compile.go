package policy

import (
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Node is where a ruleset is enforced.
type Node struct {
	Name string
	// Range has the addresses that its pods get.
	Range netip.Prefix
	// Own are its own addresses.
	Own []netip.Addr
}

// Compile says what the policies of a cluster mean for the pods of one node.
func Compile(cluster Cluster, node Node) Ruleset {
	rules := Ruleset{
		Range: node.Range, Own: node.Own,
		Ingress: map[netip.Addr]Side{}, Egress: map[netip.Addr]Side{},
	}
	for _, pod := range cluster.Pods {
		if pod.Node != node.Name {
			continue
		}
		rules.Covered = append(rules.Covered, pod.Address)
		for _, policy := range cluster.Policies {
			if policy.Namespace != pod.Namespace || !selects(&policy.Spec.PodSelector, pod.Labels) {
				continue
			}
			ingress, egress := directions(policy.Spec)
			if ingress {
				side := rules.Ingress[pod.Address]
				for _, rule := range policy.Spec.Ingress {
					side = append(side, cluster.ingress(policy.Namespace, pod, rule)...)
				}
				rules.Ingress[pod.Address] = side
			}
			if egress {
				side := rules.Egress[pod.Address]
				for _, rule := range policy.Spec.Egress {
					side = append(side, cluster.egress(policy.Namespace, rule)...)
				}
				rules.Egress[pod.Address] = side
			}
		}
	}
	slices.SortFunc(rules.Covered, netip.Addr.Compare)
	return rules
}

// directions says in which a policy isolates. Without types it is ingress, and
// egress where it has a rule for it.
func directions(spec networking.NetworkPolicySpec) (ingress, egress bool) {
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0
	}
	return slices.Contains(spec.PolicyTypes, networking.PolicyTypeIngress),
		slices.Contains(spec.PolicyTypes, networking.PolicyTypeEgress)
}

func (c Cluster) ingress(namespace string, receiver Pod, rule networking.NetworkPolicyIngressRule) Side {
	peers := c.peers(namespace, rule.From)
	if len(rule.Ports) == 0 {
		return Side{{Peers: peers}}
	}
	var ports []Ports
	for _, port := range rule.Ports {
		if port.Port != nil && port.Port.Type == intstr.String {
			ports = append(ports, named(receiver, port)...)
		} else {
			ports = append(ports, numbered(port))
		}
	}
	if len(ports) == 0 {
		// Only names of ports that this pod has not.
		return nil
	}
	return Side{{Peers: peers, Ports: ports}}
}

// A port's name is another number at each receiver.
func (c Cluster) egress(namespace string, rule networking.NetworkPolicyEgressRule) Side {
	peers := c.peers(namespace, rule.To)
	if len(rule.Ports) == 0 {
		return Side{{Peers: peers}}
	}
	var side Side
	var ports []Ports
	for _, port := range rule.Ports {
		if port.Port == nil || port.Port.Type == intstr.Int {
			ports = append(ports, numbered(port))
			continue
		}
		for _, receiver := range c.Pods {
			if numbers := named(receiver, port); len(numbers) > 0 && peers.contain(receiver.Address) {
				side = append(side, Allow{Peers: Peers{Blocks: []Block{single(receiver.Address)}}, Ports: numbers})
			}
		}
	}
	if len(ports) > 0 {
		side = append(side, Allow{Peers: peers, Ports: ports})
	}
	return side
}

func (c Cluster) peers(namespace string, peers []networking.NetworkPolicyPeer) Peers {
	if len(peers) == 0 {
		return Peers{Any: true}
	}
	var blocks []Block
	for _, peer := range peers {
		if peer.IPBlock != nil {
			if block, ok := parse(peer.IPBlock); ok {
				blocks = append(blocks, block)
			}
			continue
		}
		for _, pod := range c.Pods {
			inNamespace := pod.Namespace == namespace
			if peer.NamespaceSelector != nil {
				inNamespace = selects(peer.NamespaceSelector, c.Namespaces[pod.Namespace])
			}
			if inNamespace && (peer.PodSelector == nil || selects(peer.PodSelector, pod.Labels)) {
				blocks = append(blocks, single(pod.Address))
			}
		}
	}
	return Peers{Blocks: blocks}
}

// What the API server lets through is well-formed; a selector that is not
// selects nothing, so that what it would open stays shut.
func selects(selector *meta.LabelSelector, set map[string]string) bool {
	parsed, err := meta.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(set))
}

func parse(block *networking.IPBlock) (Block, bool) {
	prefix, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return Block{}, false
	}
	parsed := Block{Prefix: prefix.Masked()}
	for _, text := range block.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return Block{}, false
		}
		parsed.Except = append(parsed.Except, except.Masked())
	}
	return parsed, true
}

func single(address netip.Addr) Block {
	return Block{Prefix: netip.PrefixFrom(address, address.BitLen())}
}

// numbered is for a port that has no name: one, a range, or all of a protocol.
func numbered(port networking.NetworkPolicyPort) Ports {
	ports := Ports{Protocol: protocol(port.Protocol), From: 0, To: 65535}
	if port.Port != nil {
		ports.From = uint16(port.Port.IntVal)
		ports.To = ports.From
		if port.EndPort != nil {
			ports.To = uint16(*port.EndPort)
		}
	}
	return ports
}

func named(receiver Pod, port networking.NetworkPolicyPort) []Ports {
	var ports []Ports
	for _, one := range receiver.Ports {
		same := protocol(&one.Protocol) == protocol(port.Protocol)
		if one.Name == port.Port.StrVal && same {
			number := uint16(one.ContainerPort)
			ports = append(ports, Ports{Protocol: protocol(port.Protocol), From: number, To: number})
		}
	}
	return ports
}

func protocol(given *core.Protocol) core.Protocol {
	if given == nil || *given == "" {
		return core.ProtocolTCP
	}
	return *given
}
