#!/usr/bin/env bash
# The registry on the node's address, from which the kubelet pulls every image. Sourced.

start_registry() {
    cat >"$RIG_STATE/etc/registry.yaml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
http: {addr: $RIG_REGISTRY}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
YAML
    start_daemon registry docker-registry serve "$RIG_STATE/etc/registry.yaml"
}
