package enforcer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// How long a pod waits for its rules: far longer than they take, and shorter
	// than the kubelet waits for a pod's network.
	coverTimeout = 20 * time.Second
	// The largest message of a network plugin, which has four names.
	maxMessage = 4096
)

// Started is what the network plugin tells: a pod is about to start.
type Started struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	UID       types.UID  `json:"uid"`
	Address   netip.Addr `json:"address"`
}

// ListenForPods answers the node's network plugin on a Unix socket.
func (e *Enforcer) ListenForPods(path string) (net.Listener, *http.Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /started", func(w http.ResponseWriter, r *http.Request) {
		var pod Started
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxMessage)).Decode(&pod); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), coverTimeout)
		defer cancel()
		if err := e.cover(ctx, pod); err != nil {
			message := fmt.Sprintf("no rules for the pod %s/%s after %s: %v", pod.Namespace, pod.Name, coverTimeout, err)
			http.Error(w, message, http.StatusServiceUnavailable)
		}
	})
	return listener, &http.Server{Handler: mux, ReadHeaderTimeout: coverTimeout}, nil
}

// Health answers whether the last ruleset is in place.
func (e *Enforcer) Health(w http.ResponseWriter, _ *http.Request) {
	e.mutex.Lock()
	failure := e.held.failure
	e.mutex.Unlock()
	if failure != nil {
		http.Error(w, failure.Error(), http.StatusServiceUnavailable)
	}
}

// cover returns when a ruleset knows the pod at its address, and every policy
// that the API server has by now: watches may be late, each by another while. (A
// policy that is deleted just then holds the pod back until the kubelet tries again.)
func (e *Enforcer) cover(ctx context.Context, pod Started) error {
	e.mutex.Lock()
	e.started[pod.UID] = pod.Address
	e.mutex.Unlock()
	e.look()
	policies, err := e.client.NetworkingV1().NetworkPolicies(pod.Namespace).List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	return e.await(ctx, func(now held) bool {
		if now.covered[pod.UID] != pod.Address {
			return false
		}
		for i := range policies.Items {
			one := &policies.Items[i]
			standing, known := now.policies[one.Namespace+"."+one.Name]
			if !known || standing.UID != one.UID || standing.Generation < one.Generation {
				return false
			}
		}
		return true
	})
}
