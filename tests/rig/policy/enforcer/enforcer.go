// Package enforcer makes the NetworkPolicies of a cluster hold on one node: it
// watches what policies are about, and gives the kernel the ruleset that package
// policy makes of it. One loop decides and acts; everything else only wakes it.
//
// A pod that starts is told of by the node's network plugin (policy/cni), which
// holds it back until a ruleset covers it. So the pod's first packet already
// meets the policies that were there before it.
package enforcer

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networklisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"remora/rig/policy"
)

// How long after a failure it tries again.
const retryAfter = time.Second

// Enforcer is that of one node.
type Enforcer struct {
	client     kubernetes.Interface
	node       string
	addresses  netip.Prefix
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   networklisters.NetworkPolicyLister
	wake       chan struct{}

	mutex   sync.Mutex
	started map[types.UID]netip.Addr
	held    held
}

// held is what the kernel enforces, or why it does not enforce what it should.
type held struct {
	covered  map[types.UID]netip.Addr
	policies map[string]Version
	failure  error
	// Closed when something newer is held.
	changed chan struct{}
}

// Version is one state of a policy.
type Version struct {
	UID        types.UID
	Generation int64
}

// New is the enforcer of a node whose pods have addresses of a range.
func New(client kubernetes.Interface, node string, addresses netip.Prefix) *Enforcer {
	return &Enforcer{
		client: client, node: node, addresses: addresses,
		wake:    make(chan struct{}, 1),
		started: map[types.UID]netip.Addr{},
		held:    held{failure: fmt.Errorf("it has not seen the cluster yet"), changed: make(chan struct{})},
	}
}

// Run enforces until the context ends. The rules stay: a node whose enforcer is
// gone goes on with the last ones, and starts no pod.
func (e *Enforcer) Run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(e.client, 0)
	e.pods = factory.Core().V1().Pods().Lister()
	e.namespaces = factory.Core().V1().Namespaces().Lister()
	e.policies = factory.Networking().V1().NetworkPolicies().Lister()
	wake := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { e.look() },
		UpdateFunc: func(any, any) { e.look() },
		DeleteFunc: func(any) { e.look() },
	}
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().Pods().Informer(),
		factory.Core().V1().Namespaces().Informer(),
		factory.Networking().V1().NetworkPolicies().Informer(),
	} {
		if _, err := informer.AddEventHandler(wake); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	e.look()

	publisher := publisher{client: e.client, name: "policies-on-" + e.node}
	var standing string
	var cutting bool
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-retry:
		}
		retry = nil
		now, rules, err := e.plan()
		if text := rules.Nft(); err == nil && text != standing {
			if err = load(ctx, text); err == nil {
				standing, cutting = text, true
			}
		}
		// With the same rules, too: an address may have another pod.
		fresh := e.fresh(now.covered)
		if err == nil && (cutting || len(fresh) > 0) {
			err = cut(rules, fresh)
			cutting = err != nil
		}
		if err != nil {
			now = held{failure: err}
		}
		e.hold(now)
		if err == nil {
			err = publisher.publish(ctx, now.policies)
		}
		if err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "Not all of it is in place; trying again", "after", retryAfter)
			retry = time.After(retryAfter)
		}
	}
}

// look wakes the loop. Many reasons before it does are one.
func (e *Enforcer) look() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// plan reads what is known and decides what should hold.
func (e *Enforcer) plan() (held, policy.Ruleset, error) {
	objects, err := e.pods.List(labels.Everything())
	if err != nil {
		return held{}, policy.Ruleset{}, err
	}
	namespaces, err := e.namespaces.List(labels.Everything())
	if err != nil {
		return held{}, policy.Ruleset{}, err
	}
	policies, err := e.policies.List(labels.Everything())
	if err != nil {
		return held{}, policy.Ruleset{}, err
	}
	own, err := ownAddresses()
	if err != nil {
		return held{}, policy.Ruleset{}, err
	}
	cluster := policy.Cluster{
		Namespaces: map[string]map[string]string{},
		Pods:       policy.PodsOf(objects, e.startedOf(objects)),
		Policies:   policies,
	}
	for _, namespace := range namespaces {
		cluster.Namespaces[namespace.Name] = namespace.Labels
	}
	now := held{covered: map[types.UID]netip.Addr{}, policies: map[string]Version{}}
	for _, pod := range cluster.Pods {
		if pod.Node == e.node {
			now.covered[pod.UID] = pod.Address
		}
	}
	for _, one := range policies {
		now.policies[one.Namespace+"."+one.Name] = versionOf(one)
	}
	node := policy.Node{Name: e.node, Range: e.addresses, Own: own}
	return now, policy.Compile(cluster, node), nil
}

func versionOf(one *networking.NetworkPolicy) Version {
	return Version{UID: one.UID, Generation: one.Generation}
}

// startedOf has the pods of this node that the network plugin told of, as far
// as the API's pods are known here already, and forgets those that are gone: a
// pod is known by the API before its node starts it, and goes from there last.
func (e *Enforcer) startedOf(objects []*core.Pod) map[types.UID]netip.Addr {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	known := map[types.UID]netip.Addr{}
	for _, object := range objects {
		if address, started := e.started[object.UID]; started {
			known[object.UID] = address
		}
	}
	for uid, address := range e.started {
		_, was := e.held.covered[uid]
		if _, is := known[uid]; was && !is {
			klog.V(2).InfoS("A pod is gone", "uid", uid, "address", address)
			delete(e.started, uid)
		}
	}
	return known
}

// fresh has the addresses that another pod had when it was looked last, or none.
func (e *Enforcer) fresh(covered map[types.UID]netip.Addr) map[netip.Addr]bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	fresh := map[netip.Addr]bool{}
	if e.held.covered == nil {
		// After a start nothing is known of those that were there before.
		return fresh
	}
	for uid, address := range covered {
		if e.held.covered[uid] != address {
			fresh[address] = true
		}
	}
	return fresh
}

func (e *Enforcer) hold(now held) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	close(e.held.changed)
	if now.failure != nil {
		// The kernel still has what was loaded last.
		now.covered, now.policies = e.held.covered, e.held.policies
	}
	now.changed = make(chan struct{})
	e.held = now
}

// await returns when what is held is enough.
func (e *Enforcer) await(ctx context.Context, enough func(held) bool) error {
	for {
		e.mutex.Lock()
		now := e.held
		e.mutex.Unlock()
		if enough(now) {
			return nil
		}
		select {
		case <-ctx.Done():
			if now.failure != nil {
				return now.failure
			}
			return ctx.Err()
		case <-now.changed:
		}
	}
}

func ownAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, one := range all {
		if prefix, err := netip.ParsePrefix(one.String()); err == nil && prefix.Addr().Is4() {
			own = append(own, prefix.Addr())
		}
	}
	return own, nil
}

// load gives nftables a ruleset, all of it or nothing.
func load(ctx context.Context, text string) error {
	nft := exec.CommandContext(ctx, "nft", "--file", "-")
	nft.Stdin = bytes.NewReader([]byte(text))
	if output, err := nft.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}
