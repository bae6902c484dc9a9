#!/usr/bin/env bash
# Whether the full profile does what it is for: pods of two nodes, volumes that
# both share, an ingress controller, and policies, with packets that must pass
# and packets that must not. It leaves nothing behind.
#
#   check-full.sh IMAGE
#
# IMAGE is a busybox in a registry the nodes pull from.
set -euo pipefail
shopt -s inherit_errexit
RIG_PROFILE=full
# shellcheck source=tests/rig/settings.sh
source "$(dirname "$0")/settings.sh"
image=$1
own=remora-check-$$-own
sibling=remora-check-$$-sibling
started=$SECONDS

say() { printf 'check: %s\n' "$1"; }
fail() {
    say "FAILED: $1" >&2
    kubectl get pods,networkpolicies -A -o wide >&2 || true
    exit 1
}

trap 'kubectl delete namespace "$own" "$sibling" --wait --timeout 60s >/dev/null' EXIT
for one in "$own" "$sibling"; do kubectl create namespace "$one" >/dev/null; done

# pod NAMESPACE NAME NODE SCRIPT: one that runs a script of busybox' shell.
pod() {
    cat <<YAML
---
apiVersion: v1
kind: Pod
metadata: {name: $2, namespace: $1, labels: {app: $2}}
spec:
  nodeName: $3
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: shared, persistentVolumeClaim: {claimName: shared}}, {name: work, emptyDir: {}}]
  containers:
  - name: main
    image: $image
    command: [/busybox, sh, -c]
    args:
    - |
      ${4//$'\n'/$'\n'      }
    volumeMounts: [{name: shared, mountPath: /shared}, {name: work, mountPath: /work}]
    ${5:-}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
YAML
}
claim() {
    cat <<YAML
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shared, namespace: $1}
spec: {accessModes: [ReadWriteMany], storageClassName: shared, resources: {requests: {storage: 1Mi}}}
YAML
}
# Each serves its name on port 8080, and ticks to whoever connects to port 9000.
# shellcheck disable=SC2016 # the pod's shell expands them
serve='/busybox echo "$HOSTNAME" >/work/index.html; /busybox echo "$HOSTNAME" >"/shared/$HOSTNAME"
/busybox nc -ll -p 9000 -e /busybox sh -c "while /busybox echo tick; do /busybox sleep 0.1; done" &
exec /busybox httpd -f -p 8080 -h /work'
ready='readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}'
{
    claim "$own"
    claim "$sibling"
    pod "$own" one node-1 "$serve" "$ready"
    pod "$own" two node-2 "$serve" "$ready"
    pod "$sibling" other node-1 "$serve" "$ready"
    pod "$sibling" another node-2 "$serve" "$ready"
    cat <<YAML
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: $own}
spec: {selector: {app: two}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: two, namespace: $own}
spec:
  ingressClassName: traefik
  rules:
  - host: check.$RIG_DOMAIN
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: two, port: {number: 80}}}}]}
YAML
} | kubectl create -f - >/dev/null
for one in "$own" "$sibling"; do
    kubectl -n "$one" wait --for condition=Ready pod --all --timeout 60s >/dev/null || fail "the pods are not Ready"
done
say "pods on both nodes are Ready"

in_pod() { kubectl -n "$1" exec "$2" -c main -- /busybox "${@:3}"; }
address_of() { kubectl -n "$1" get pod "$2" -o jsonpath='{.status.podIP}'; }

[ "$(in_pod "$own" one cat /shared/two)" = two ] || fail "a volume of class shared differs between the nodes"
say "pods of both nodes share a volume"

# probe NAMESPACE POD ADDRESS:PORT...: of each whether something answers. No
# answer is a time-out; whatever else goes wrong is neither.
probe() {
    # shellcheck disable=SC2016 # the pod's shell expands them
    in_pod "$1" "$2" sh -c '
        exec 2>/dev/null
        for target in "$@"; do
            (
                answer=$(printf "GET / HTTP/1.0\r\nHost: ${HOST:-rig}\r\n\r\n" |
                    /busybox timeout 2 /busybox nc "${target%:*}" "${target##*:}" 2>&1) || code=$?
                case ${code:-0}:$answer in
                    0:?*) echo "open $target" ;;
                    143:) echo "silent $target" ;;
                    *) echo "$target: exit ${code:-0}: $answer" ;;
                esac
            ) &
        done
        wait' _ "${@:3}" | sort
}
# expect WANTED WHAT NAMESPACE POD ADDRESS:PORT...
expect() {
    local wanted=$1 what=$2 found
    shift 2
    found=$(probe "$@")
    [ "$found" = "$(printf "$wanted %s\n" "${@:3}" | sort)" ] || fail "$what: from $2 in $1, not all is $wanted: $found"
    say "$what"
}

one=$(address_of "$own" one) two=$(address_of "$own" two)
other=$(address_of "$sibling" other) another=$(address_of "$sibling" another)
service=$(kubectl -n "$own" get service two -o jsonpath='{.spec.clusterIP}')
ingress=$(kubectl -n traefik get service traefik -o jsonpath='{.spec.clusterIP}')
named=$(in_pod "$own" one nslookup "two.$own.svc.cluster.local" | sed -n '/^Name:/,$s/^Address: //p')
[ "$named" = "$service" ] || fail "two.$own.svc.cluster.local leads to '$named', not to $service"
say "a Service of the other node has a name"

family=("$one:8080" "$two:8080")
strangers=("$other:8080" "$another:8080")
# What no project may reach: the API server by either address, the kubelets, the
# registry, this machine's side of the wire, and what tells a cloud's machine its secrets.
inner=("$RIG_API_SERVICE:443" "$RIG_NODE_ADDRESS:6443" "$RIG_NODE_ADDRESS:10250" "$(node_address node-2):10250"
    "$RIG_REGISTRY" "$RIG_METADATA_ADDRESS:80")
world=("$RIG_INTERNET_ADDRESS:80")
for from in one two; do
    expect open "$from reaches pods, a Service, nodes, the API server and hosts outside, while no policy says otherwise" \
        "$own" "$from" "${family[@]}" "${strangers[@]}" "${inner[@]}" "${world[@]}" "$service:80"
done

fetch() { curl -fsS -m 5 --cacert "$RIG_STATE/pki/ca.crt" --resolve "check.$RIG_DOMAIN:$1:$RIG_NODE_ADDRESS" "$2://check.$RIG_DOMAIN/"; }
deadline=$((SECONDS + 15))
until [ "$(fetch 80 http 2>/dev/null)" = two ]; do
    [ "$SECONDS" -lt "$deadline" ] || fail "the ingress controller does not lead check.$RIG_DOMAIN to the pod: $(fetch 80 http 2>&1)"
    sleep 0.2
done
[ "$(fetch 443 https)" = two ] || fail "the ingress controller does not serve https"
expect open "the ingress controller serves this machine, by TLS too, and pods" "$own" one "$ingress:80" "$RIG_NODE_ADDRESS:443"
kubectl wait --for condition=Accepted --timeout 10s gatewayclass/traefik >/dev/null || fail "no controller takes the GatewayClass traefik"

# Connections that stand when policies come.
for from in other another; do
    in_pod "$sibling" "$from" sh -c "/busybox nc $one 9000 >/work/ticks 2>&1 & /busybox nc $two 9000 >/work/more 2>&1 &"
done
ticks() { for from in other another; do in_pod "$sibling" "$from" cat /work/ticks /work/more; done | wc -l; }
before=$(ticks)
sleep 0.5
[ "$(ticks)" -gt "$before" ] || fail "connections between the namespaces do not tick"

# As a project's namespace has them, in one policy.
kubectl -n "$own" create -f - >/dev/null <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: project}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {}}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: traefik}}}]
    ports: [{port: 8080}]
  egress:
  - to: [{podSelector: {}}]
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]}}]
YAML
# held VALUE: until on each node the policy has that UID and generation.
held() {
    local node deadline=$((SECONDS + 10))
    for node in "${RIG_NODES[@]}"; do
        until [ "$(kubectl -n kube-system get configmap "policies-on-$node" -o jsonpath="{.data.$own\.project}")" = "$1" ]; do
            [ "$SECONDS" -lt "$deadline" ] || fail "after 10 s the enforcer of $node does not say that the policy is '$1'"
            sleep 0.1
        done
    done
}
held "$(kubectl -n "$own" get networkpolicy project -o jsonpath='{.metadata.uid} {.metadata.generation}')"
say "both enforcers say that the policy holds"
before=$(ticks)
for from in one two; do
    expect open "under a project's policy $from reaches its own, by Service too, and the internet" \
        "$own" "$from" "${family[@]}" "${world[@]}" "$service:80"
    expect silent "and no sibling, node, API server, registry or metadata service" \
        "$own" "$from" "${strangers[@]}" "${inner[@]}"
done
for from in other another; do
    expect silent "it is not reached from a sibling namespace, on either node, by Service neither" \
        "$sibling" "$from" "${family[@]}" "$service:80"
done
[ "$(in_pod "$own" two nslookup "two.$own.svc.cluster.local" | sed -n '/^Name:/,$s/^Address: //p')" = "$service" ] || fail "no DNS under the policy"
[ "$(fetch 443 https)" = two ] || fail "the policy keeps the ingress controller out"
say "names are found, and the ingress controller comes in"
[ "$(ticks)" -le $((before + 4)) ] || fail "connections that stood before the policy go on"
say "connections that stood before the policy are cut"

# The first thing that these do is what they may not, over and over.
# shellcheck disable=SC2016 # the pod's shell expands them
eager='exec 2>/dev/null; i=0; while [ $i -lt 30 ]; do i=$((i + 1))
    for target in "'"$other"' 8080" "'"$another"' 8080" "'"$RIG_METADATA_ADDRESS"' 80" "'"$RIG_API_SERVICE"' 443"; do
        (printf "GET / HTTP/1.0\r\n\r\n" | /busybox timeout 2 /busybox nc $target >>/work/leaked 2>&1) &
    done; /busybox sleep 0.05
done; wait; /busybox wc -c </work/leaked'
for node in "${RIG_NODES[@]}"; do
    pod "$own" "young-on-$node" "$node" "$eager"
    pod "$sibling" "free-on-$node" "$node" "$eager"
done | kubectl create -f - >/dev/null
for node in "${RIG_NODES[@]}"; do
    kubectl -n "$own" wait --for jsonpath='{.status.phase}'=Succeeded "pod/young-on-$node" --timeout 60s >/dev/null || fail "young-on-$node does not end"
    kubectl -n "$sibling" wait --for jsonpath='{.status.phase}'=Succeeded "pod/free-on-$node" --timeout 60s >/dev/null || fail "free-on-$node does not end"
    [ "$(kubectl -n "$own" logs "young-on-$node")" = 0 ] || fail "a pod that started under the policy got a packet through on $node"
    [ "$(kubectl -n "$sibling" logs "free-on-$node")" -gt 0 ] || fail "not even a pod without a policy got a packet through on $node"
done
say "a pod that starts under the policy gets no packet through, from its first on; one without it does"

kubectl -n "$own" delete networkpolicy project >/dev/null
held ""
for from in other another; do
    expect open "without the policy all is as before" "$sibling" "$from" "${family[@]}" "$service:80"
done
say "the full profile in $((SECONDS - started)) s"
