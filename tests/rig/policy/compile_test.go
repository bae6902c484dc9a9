package policy

import (
	"net/netip"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// A pod on each node, and one policy on all of their namespace.
func world(spec networking.NetworkPolicySpec) Cluster {
	return Cluster{
		Namespaces: map[string]map[string]string{"ns": {}},
		Pods: []Pod{
			{Namespace: "ns", Node: "node-1", Address: address("10.244.0.2"), Ports: []core.ContainerPort{{Name: "web", ContainerPort: 80}}},
			{Namespace: "ns", Node: "node-2", Address: address("10.244.1.2"), Ports: []core.ContainerPort{{Name: "web", ContainerPort: 8080}}},
		},
		Policies: []*networking.NetworkPolicy{{ObjectMeta: meta.ObjectMeta{Namespace: "ns", Name: "policy"}, Spec: spec}},
	}
}

func tcp(from, to string, port uint16) Packet {
	return Packet{Source: address(from), Destination: address(to), Protocol: core.ProtocolTCP, Port: port}
}

func check(t *testing.T, rules Ruleset, packet Packet, passes bool) {
	t.Helper()
	if rules.Allows(packet) != passes {
		t.Errorf("%+v passes: %t", packet, !passes)
	}
}

func TestAPodTooYoungForTheRulesetGetsNothingThrough(t *testing.T) {
	cluster := world(networking.NetworkPolicySpec{PolicyTypes: []networking.PolicyType{networking.PolicyTypeEgress}})
	cluster.Policies = nil
	rules := Compile(cluster, nodes[0])
	check(t, rules, tcp("10.244.0.2", "203.0.113.80", 80), true)
	check(t, rules, tcp("10.244.0.3", "203.0.113.80", 80), false)
	check(t, rules, tcp("10.244.1.2", "10.244.0.3", 80), false)
	// Another node's young pod is that node's affair.
	check(t, rules, tcp("10.244.1.9", "10.244.0.2", 80), true)
}

func TestTheOwnNodeReachesItsPods(t *testing.T) {
	cluster := world(networking.NetworkPolicySpec{PolicyTypes: []networking.PolicyType{networking.PolicyTypeIngress}})
	node := nodes[0]
	node.Own = []netip.Addr{address("172.30.77.2"), address("10.244.0.1")}
	rules := Compile(cluster, node)
	check(t, rules, tcp("172.30.77.2", "10.244.0.2", 80), true)
	check(t, rules, tcp("172.30.77.3", "10.244.0.2", 80), false)
	check(t, rules, tcp("10.244.1.2", "10.244.0.2", 80), false)
}

func TestAPodReachesItself(t *testing.T) {
	both := []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress}
	rules := Compile(world(networking.NetworkPolicySpec{PolicyTypes: both}), nodes[0])
	check(t, rules, tcp("10.244.0.2", "10.244.0.2", 80), true)
	check(t, rules, tcp("10.244.0.2", "10.244.1.2", 80), false)
}

func TestAPortsNameIsTheReceivers(t *testing.T) {
	web := intstr.FromString("web")
	rules := Compile(world(networking.NetworkPolicySpec{
		PolicyTypes: []networking.PolicyType{networking.PolicyTypeEgress},
		Egress:      []networking.NetworkPolicyEgressRule{{Ports: []networking.NetworkPolicyPort{{Port: &web}}}},
	}), nodes[0])
	check(t, rules, tcp("10.244.0.2", "10.244.1.2", 8080), true)
	check(t, rules, tcp("10.244.0.2", "10.244.1.2", 80), false)
	check(t, rules, tcp("10.244.0.2", "203.0.113.80", 80), false)
}

func TestWithoutTheLabelNotInSelects(t *testing.T) {
	cluster := world(networking.NetworkPolicySpec{
		PodSelector: meta.LabelSelector{MatchExpressions: []meta.LabelSelectorRequirement{
			{Key: "app", Operator: meta.LabelSelectorOpNotIn, Values: []string{"a"}},
		}},
		PolicyTypes: []networking.PolicyType{networking.PolicyTypeEgress},
	})
	rules := Compile(cluster, nodes[0])
	check(t, rules, tcp("10.244.0.2", "203.0.113.80", 80), false)
	cluster.Pods[0].Labels = map[string]string{"app": "a"}
	rules = Compile(cluster, nodes[0])
	check(t, rules, tcp("10.244.0.2", "203.0.113.80", 80), true)
}

func TestPodsOfTakesTheYoungerOfTwoWithOneAddress(t *testing.T) {
	pod := func(uid, reported string, age time.Duration, phase core.PodPhase) *core.Pod {
		return &core.Pod{
			ObjectMeta: meta.ObjectMeta{UID: types.UID(uid), CreationTimestamp: meta.NewTime(time.Unix(1e9, 0).Add(-age))},
			Status:     core.PodStatus{PodIP: reported, Phase: phase},
		}
	}
	onHost := pod("host", "172.30.77.2", 0, core.PodRunning)
	onHost.Spec.HostNetwork = true
	pods := PodsOf([]*core.Pod{
		pod("old", "10.244.0.2", time.Hour, core.PodRunning),
		pod("new", "10.244.0.2", time.Minute, core.PodRunning),
		pod("over", "10.244.0.3", 0, core.PodSucceeded),
		pod("silent", "", 0, core.PodPending),
		pod("told", "", time.Hour, core.PodPending),
		pod("moved", "10.244.0.9", time.Hour, core.PodRunning),
		onHost,
	}, map[types.UID]netip.Addr{"told": address("10.244.0.4"), "moved": address("10.244.0.5")})
	found := map[types.UID]string{}
	for _, pod := range pods {
		found[pod.UID] = pod.Address.String()
	}
	wanted := map[types.UID]string{"new": "10.244.0.2", "told": "10.244.0.4", "moved": "10.244.0.5"}
	if len(found) != len(wanted) {
		t.Errorf("found %v, wanted %v", found, wanted)
	}
	for uid, address := range wanted {
		if found[uid] != address {
			t.Errorf("found %v, wanted %v", found, wanted)
		}
	}
}
