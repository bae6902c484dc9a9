#!/usr/bin/env bash
# Volumes: folders on the node, made for each claim, and a default StorageClass
# as most clusters have one. Sourced.

start_storage-provisioner() {
    kubectl_admin apply -f - >/dev/null <<'YAML'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: remora.dev/rig-folders
volumeBindingMode: WaitForFirstConsumer
YAML
    if [ "$RIG_PROFILE" = full ]; then
        # As a cluster of several nodes names it: nodes share the folders.
        kubectl_admin apply -f - >/dev/null <<'YAML'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: shared}
provisioner: remora.dev/rig-folders
volumeBindingMode: Immediate
YAML
    fi
    start_daemon storage-provisioner storage-provisioner --kubeconfig "$RIG_KUBECONFIG" --root /var/lib/volumes
}
