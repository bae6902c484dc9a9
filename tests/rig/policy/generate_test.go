package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A small world: few labels, ports and addresses, so that policies meet.
var (
	nodes = []Node{
		{Name: "node-1", Range: netip.MustParsePrefix("10.244.0.0/24")},
		{Name: "node-2", Range: netip.MustParsePrefix("10.244.1.0/24")},
	}
	outside     = []netip.Addr{address("203.0.113.80"), address("169.254.169.254"), address("172.30.77.2")}
	portNumbers = []uint16{53, 80, 443, 5432, 7070, 8080}
	portNames   = []string{"web", "api", "db"}
	keys        = []string{"app", "tier"}
	values      = []string{"a", "b", "c"}
	blocks      = []string{"0.0.0.0/0", "10.0.0.0/8", "10.244.0.0/24", "10.244.1.0/25", "169.254.0.0/16", "172.16.0.0/12", "203.0.113.80/32", "::/0"}
)

func generate(random *rand.Rand) Cluster {
	cluster := Cluster{Namespaces: map[string]map[string]string{}}
	for i := range 1 + random.IntN(3) {
		cluster.Namespaces[fmt.Sprintf("ns-%d", i)] = labelsOf(random)
	}
	names := []string{"ns-0"}
	for i := 1; i < len(cluster.Namespaces); i++ {
		names = append(names, fmt.Sprintf("ns-%d", i))
	}
	for i := range 2 + random.IntN(6) {
		node := random.IntN(len(nodes))
		cluster.Pods = append(cluster.Pods, Pod{
			Namespace: pick(random, names), UID: types.UID(fmt.Sprint(i)), Labels: labelsOf(random),
			Node: nodes[node].Name, Address: address(fmt.Sprintf("10.244.%d.%d", node, 2+i*40)), Ports: containerPorts(random),
		})
	}
	for i := range random.IntN(5) {
		cluster.Policies = append(cluster.Policies, &networking.NetworkPolicy{
			ObjectMeta: meta.ObjectMeta{Namespace: pick(random, names), Name: fmt.Sprint(i)},
			Spec: networking.NetworkPolicySpec{
				PodSelector: selector(random),
				PolicyTypes: pick(random, [][]networking.PolicyType{
					nil, {networking.PolicyTypeIngress}, {networking.PolicyTypeEgress},
					{networking.PolicyTypeIngress, networking.PolicyTypeEgress},
				}),
				Ingress: some(random, 2, func() networking.NetworkPolicyIngressRule {
					return networking.NetworkPolicyIngressRule{From: peersOf(random), Ports: policyPorts(random)}
				}),
				Egress: some(random, 2, func() networking.NetworkPolicyEgressRule {
					return networking.NetworkPolicyEgressRule{To: peersOf(random), Ports: policyPorts(random)}
				}),
			},
		})
	}
	return cluster
}

// withDefaults has the types that the API server gives a policy without, which
// cyclonus does not do.
func withDefaults(policies []*networking.NetworkPolicy) []*networking.NetworkPolicy {
	var defaulted []*networking.NetworkPolicy
	for _, policy := range policies {
		policy = policy.DeepCopy()
		if len(policy.Spec.PolicyTypes) == 0 {
			policy.Spec.PolicyTypes = []networking.PolicyType{networking.PolicyTypeIngress}
			if len(policy.Spec.Egress) > 0 {
				policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networking.PolicyTypeEgress)
			}
		}
		defaulted = append(defaulted, policy)
	}
	return defaulted
}

// Everything has a tier, some an app.
func labelsOf(random *rand.Rand) map[string]string {
	labels := map[string]string{"tier": pick(random, values)}
	if random.IntN(3) > 0 {
		labels["app"] = pick(random, values)
	}
	return labels
}

func selector(random *rand.Rand) meta.LabelSelector {
	switch random.IntN(4) {
	case 0:
		return meta.LabelSelector{}
	case 1:
		operator := pick(random, []meta.LabelSelectorOperator{
			meta.LabelSelectorOpIn, meta.LabelSelectorOpNotIn, meta.LabelSelectorOpExists, meta.LabelSelectorOpDoesNotExist,
		})
		requirement := meta.LabelSelectorRequirement{Key: pick(random, keys), Operator: operator}
		if operator == meta.LabelSelectorOpIn || operator == meta.LabelSelectorOpNotIn {
			requirement.Values = []string{pick(random, values), pick(random, values)}
		}
		if operator == meta.LabelSelectorOpNotIn {
			// Where there is no such label at all, Kubernetes selects and cyclonus
			// does not: TestWithoutTheLabelNotInSelects.
			requirement.Key = "tier"
		}
		return meta.LabelSelector{MatchExpressions: []meta.LabelSelectorRequirement{requirement}}
	default:
		return meta.LabelSelector{MatchLabels: map[string]string{pick(random, keys): pick(random, values)}}
	}
}

func peersOf(random *rand.Rand) []networking.NetworkPolicyPeer {
	return some(random, 2, func() networking.NetworkPolicyPeer {
		pods, namespaces := selector(random), selector(random)
		switch random.IntN(4) {
		case 0:
			block := networking.IPBlock{CIDR: pick(random, blocks)}
			if block.CIDR == "0.0.0.0/0" {
				block.Except = some(random, 3, func() string { return pick(random, blocks[1:len(blocks)-1]) })
			}
			return networking.NetworkPolicyPeer{IPBlock: &block}
		case 1:
			return networking.NetworkPolicyPeer{PodSelector: &pods}
		case 2:
			return networking.NetworkPolicyPeer{NamespaceSelector: &namespaces}
		default:
			return networking.NetworkPolicyPeer{PodSelector: &pods, NamespaceSelector: &namespaces}
		}
	})
}

func policyPorts(random *rand.Rand) []networking.NetworkPolicyPort {
	return some(random, 2, func() networking.NetworkPolicyPort {
		var port networking.NetworkPolicyPort
		if random.IntN(3) > 0 {
			protocol := pick(random, protocols)
			port.Protocol = &protocol
		}
		switch random.IntN(4) {
		case 0:
			name := intstr.FromString(pick(random, portNames))
			port.Port = &name
		case 1:
			from, to := pick(random, portNumbers), pick(random, portNumbers)
			first, last := intstr.FromInt32(int32(min(from, to))), int32(max(from, to))
			port.Port, port.EndPort = &first, &last
		case 2:
			number := intstr.FromInt32(int32(pick(random, portNumbers)))
			port.Port = &number
		}
		return port
	})
}

// containerPorts have a number and protocol once each, and a name once.
func containerPorts(random *rand.Rand) []core.ContainerPort {
	var ports []core.ContainerPort
	numbers := random.Perm(len(portNumbers))
	for i, name := range portNames {
		if random.IntN(2) == 0 {
			ports = append(ports, core.ContainerPort{
				Name: name, ContainerPort: int32(portNumbers[numbers[i]]), Protocol: pick(random, protocols),
			})
		}
	}
	return ports
}
