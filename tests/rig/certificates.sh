#!/usr/bin/env bash
# Who is who in the cluster: an authority, a certificate for each part, and the
# kubeconfigs that carry them. Sourced.
#
# The subject is the identity: CN is the user, O the group that RBAC and the
# Node authorizer know.

# authority NAME
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -keyout "$RIG_STATE/pki/$1.key" -subj "/CN=$1" -out "$RIG_STATE/pki/$1.crt" 2>/dev/null
}

# issue AUTHORITY FILE SUBJECT [SAN]
issue() {
    local authority=$RIG_STATE/pki/$1 file=$RIG_STATE/pki/$2
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
        -keyout "$file.key" -subj "$3" -out "$file.csr" 2>/dev/null
    openssl x509 -req -in "$file.csr" -CA "$authority.crt" -CAkey "$authority.key" \
        -set_serial "0x$(openssl rand -hex 15)" -days 365 -out "$file.crt" 2>/dev/null -extfile <(
        echo "extendedKeyUsage = serverAuth, clientAuth"
        [ $# -lt 4 ] || echo "subjectAltName = $4"
    )
    rm "$file.csr"
}

# kubeconfig NAME FILE: for the holder of certificate NAME.
kubeconfig() {
    local pki=$RIG_STATE/pki
    (
        umask 077
        cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: remora-rig
clusters:
- name: remora-rig
  cluster:
    server: https://$RIG_NODE_ADDRESS:6443
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$pki/$1.crt")
    client-key-data: $(base64 -w0 "$pki/$1.key")
contexts:
- name: remora-rig
  context: {cluster: remora-rig, user: $1}
YAML
    )
}

make_certificates() {
    local pki=$RIG_STATE/pki name
    mkdir -m 700 "$pki"
    authority ca
    # Who holds a certificate of this one speaks for any user: it is the API
    # server itself, when it passes a request on to an API beside it.
    authority front-proxy-ca
    issue front-proxy-ca front-proxy /CN=front-proxy
    # Signs the tokens of service accounts: a key pair, no certificate.
    openssl ecparam -genkey -name prime256v1 -noout -out "$pki/service-accounts.key"
    openssl ec -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null

    issue ca apiserver /CN=kube-apiserver "DNS:kubernetes, DNS:kubernetes.default, \
DNS:kubernetes.default.svc, DNS:kubernetes.default.svc.cluster.local, \
IP:127.0.0.1, IP:$RIG_API_SERVICE, IP:$RIG_NODE_ADDRESS"
    issue ca apiserver-to-kubelet /O=system:masters/CN=kube-apiserver-to-kubelet
    issue ca admin /O=system:masters/CN=admin
    issue ca controller-manager /CN=system:kube-controller-manager
    issue ca scheduler /CN=system:kube-scheduler
    issue ca proxy /CN=system:kube-proxy
    for name in "${RIG_NODES[@]}"; do
        issue ca "$name" "/O=system:nodes/CN=system:node:$name" "DNS:$name, IP:$(node_address "$name")"
    done

    for name in controller-manager scheduler proxy "${RIG_NODES[@]}"; do
        kubeconfig "$name" "$RIG_STATE/etc/$name.kubeconfig"
    done
    kubeconfig admin "$RIG_KUBECONFIG"
}
