#!/usr/bin/env bash
# Whether the cluster that KUBECONFIG names does what Remora needs of one. It
# leaves nothing behind.
#
#   check.sh [IMAGE]
#
# IMAGE is a busybox in a registry the nodes pull from. Without it only what
# needs no pod is checked.
set -euo pipefail
shopt -s inherit_errexit
image=${1:-}
space=remora-check-$$
started=$SECONDS

say() { printf 'check: %s\n' "$1"; }
fail() {
    say "FAILED: $1" >&2
    kubectl -n "$space" get pods,events -o wide >&2 || true
    exit 1
}
in_client() { kubectl -n "$space" exec client -c main -- /busybox "$@"; }

kubectl wait --for condition=Ready nodes --all --timeout 30s >/dev/null || fail "a node is not Ready"
say "every node is Ready"

trap 'kubectl delete namespace "$space" --wait --timeout 60s >/dev/null' EXIT
kubectl create namespace "$space" >/dev/null
kubectl label namespace "$space" pod-security.kubernetes.io/enforce=restricted >/dev/null

if refusal=$(kubectl -n "$space" apply -f - 2>&1 <<YAML
apiVersion: v1
kind: Pod
metadata: {name: privileged}
spec: {containers: [{name: main, image: none, securityContext: {privileged: true}}]}
YAML
); then
    fail "a privileged pod was admitted to a restricted namespace"
fi
grep -q 'violates PodSecurity "restricted' <<<"$refusal" || fail "a privileged pod was refused for another reason: $refusal"
say "a restricted namespace refuses a privileged pod"

if [ -z "$image" ]; then
    say "no image given: what needs a pod was not checked"
    exit 0
fi

# What every container here has in common: nothing that `restricted` forbids.
container="image: $image, imagePullPolicy: Always, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}"
pod_security="{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}"
kubectl -n "$space" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: $pod_security
  volumes: [{name: work, emptyDir: {}}]
  initContainers:
  - {name: init, $container, volumeMounts: [{name: work, mountPath: /work}],
     command: [/busybox, sh, -c, "echo hello >/work/index.html"]}
  - {name: sidecar, $container, volumeMounts: [{name: work, mountPath: /work}], restartPolicy: Always,
     startupProbe: {exec: {command: [/busybox, test, -e, /work/sidecar]}, periodSeconds: 1},
     command: [/busybox, sh, -c, "echo up >/work/sidecar; exec /busybox sleep 3600"]}
  containers:
  - {name: main, $container, volumeMounts: [{name: work, mountPath: /work}],
     command: [/busybox, sh, -c, "/busybox test -e /work/sidecar && exec /busybox httpd -f -p 8080 -h /work"],
     readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: $pod_security
  containers: [{name: main, $container, command: [/busybox, sleep, "3600"]}]
YAML
kubectl -n "$space" wait --for condition=Ready pod/server pod/client --timeout 60s >/dev/null || fail "the pods are not Ready"
say "a pod with an init container, a native sidecar and a main container is Ready"
# The events come a moment after the state they tell of.
kubectl -n "$space" wait --for jsonpath='{.reason}'=Pulled --timeout 10s \
    events --field-selector reason=Pulled >/dev/null || fail "no event says that the image was pulled"
say "the kubelet pulled $image from its registry"

[ "$(in_client echo works)" = works ] || fail "kubectl exec"
say "kubectl exec works"

# By pieces, because this busybox is static: its wget cannot look names up.
get() { in_client sh -c "printf 'GET / HTTP/1.0\r\n\r\n' | /busybox nc -w 5 $1 80" | tail -n 1; }
address=$(kubectl -n "$space" get service server -o jsonpath='{.spec.clusterIP}')
[ "$(get "$address")" = hello ] || fail "the Service does not answer at $address"
say "a Service answers at its cluster address"
# The DNS server hears of a Service by a watch: later where the API server was
# away a moment ago.
name=server.$space.svc.cluster.local
look_up() { in_client nslookup "$name" 2>/dev/null | sed -n '/^Name:/,$s/^Address: //p' | head -n 1; }
deadline=$((SECONDS + 30))
until named=$(look_up) && [ "$named" = "$address" ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "$name leads to '$named', not to $address"
    sleep 0.2
done
[ "$(get "$named")" = hello ] || fail "the Service does not answer at $name"
say "and at its DNS name"

# A cluster of one's own may have no class that claims get without asking.
default=$(kubectl get storageclass -o jsonpath='{range .items[?(@.metadata.annotations.storageclass\.kubernetes\.io/is-default-class=="true")]}{.metadata.name}{end}')
if [ -z "$default" ]; then
    say "no default StorageClass: projects on volumes will not start unless they name one"
else
    kubectl -n "$space" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: volume}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  restartPolicy: Never
  securityContext: {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: volume, persistentVolumeClaim: {claimName: volume}}]
  containers: [{name: main, $container, command: [/busybox, touch, /volume/file],
    volumeMounts: [{name: volume, mountPath: /volume}]}]
YAML
    kubectl -n "$space" wait --for jsonpath='{.status.phase}'=Succeeded pod/writer --timeout 60s >/dev/null ||
        fail "a user that is not root cannot write to a volume of class $default"
    say "a claim without a class gets a volume of $default, and a user that is not root writes to it"
fi
say "all of it in $((SECONDS - started)) s"
