package policy

import (
	"cmp"
	"net/netip"
	"slices"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Cluster is what policies are about.
type Cluster struct {
	// Namespaces by name, with their labels.
	Namespaces map[string]map[string]string
	Pods       []Pod
	Policies   []*networking.NetworkPolicy
}

// Pod is one with an address of its own.
type Pod struct {
	Namespace string
	UID       types.UID
	Labels    map[string]string
	Node      string
	Address   netip.Addr
	Ports     []core.ContainerPort
}

// PodsOf takes from the API's pods those that have an address of their own. The
// kubelet reports an address a second after the pod has it: started has those
// that the node's network plugin told of before.
//
// An address is given anew some time after its pod has ended. Where two pods
// have it, the younger one does.
func PodsOf(objects []*core.Pod, started map[types.UID]netip.Addr) []Pod {
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(a, b *core.Pod) int {
		_, startedA := started[a.UID]
		_, startedB := started[b.UID]
		return cmp.Or(
			cmp.Compare(rank(startedB), rank(startedA)),
			b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
			cmp.Compare(a.UID, b.UID),
		)
	})
	var pods []Pod
	taken := map[netip.Addr]bool{}
	for _, object := range objects {
		over := object.Status.Phase == core.PodSucceeded || object.Status.Phase == core.PodFailed
		if object.Spec.HostNetwork || over {
			continue
		}
		address, known := started[object.UID]
		if !known {
			var err error
			if address, err = netip.ParseAddr(object.Status.PodIP); err != nil {
				continue
			}
		}
		if taken[address] {
			continue
		}
		taken[address] = true
		pods = append(pods, Pod{
			Namespace: object.Namespace, UID: object.UID, Labels: object.Labels,
			Node: object.Spec.NodeName, Address: address, Ports: portsOf(object),
		})
	}
	return pods
}

func rank(first bool) int {
	if first {
		return 1
	}
	return 0
}

// The ports of what runs as long as the pod does, sidecars included.
func portsOf(pod *core.Pod) []core.ContainerPort {
	var ports []core.ContainerPort
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == core.ContainerRestartPolicyAlways {
			ports = append(ports, container.Ports...)
		}
	}
	for _, container := range pod.Spec.Containers {
		ports = append(ports, container.Ports...)
	}
	return ports
}
