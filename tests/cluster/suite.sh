#!/usr/bin/env bash
# The suite: a Job in the release's namespace. Sourced.
# shellcheck disable=SC2034,SC2154 # run.sh and its parts share variables

# The contract with the suite, the test-runner's binary remora-integration:
#   arguments  --junit FILE, then those of SUITE
#   REMORA_SERVER, REMORA_KEY    the server and the admin's key
#   REMORA_TEST_IMAGE            an image for projects
#   REMORA_TEST_DATABASES        an image with PostgreSQL and Redis
#   REMORA_TEST_INGRESS          where exposed ports are reached through the ingress controller
#   REMORA_NAMESPACE             where the release is
#   REMORA_HOST_FAULTS           yes, where faults.sh answers
#   REMORA_FULL_PROFILE          yes, on the rig's full profile: the cases marked for it, if SUITE names none
#   REMORA_S3_*, AWS_*           the store that the release uses
# Its ServiceAccount may do everything: it drains nodes and deletes pods.
#
# run_suite JOB: as a Job of that name.
run_suite() {
    local job=$1
    local image devserver databases junit arguments argument words='' log=$out/suite.log rest=2 bench=no
    if [[ " ${SUITE:-} " == *" --bench "* ]]; then bench=yes; fi
    image=$(image_of test-runner)
    devserver=$(image_of devserver)
    databases=$(image_of databases)
    read -ra arguments <<<"${SUITE:-}"
    # As YAML: a word that ends in a colon would be a key.
    for argument in "${arguments[@]}"; do words+=", '${argument//\'/\'\'}'"; done
    kubectl --namespace "$space" apply -f - >/dev/null <<YAML || return 1
apiVersion: v1
kind: ServiceAccount
metadata: {name: integration}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: $space-suite}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: integration, namespace: $space}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: host-fault}
data: {request: "", answer: ""}
---
apiVersion: batch/v1
kind: Job
metadata: {name: $job}
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 3600
  activeDeadlineSeconds: ${SUITE_SECONDS:-3000}
  template:
    spec:
      restartPolicy: Never
      serviceAccountName: integration
      securityContext: {runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      # With the store, whose node is none that a case has lost.
      affinity:
        podAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - labelSelector: {matchLabels: {app.kubernetes.io/component: trial-store}}
            topologyKey: kubernetes.io/hostname
      volumes: [{name: out, emptyDir: {}}, {name: tmp, emptyDir: {}}]
      containers:
      - name: suite
        image: $image
        # What it found is kept in the cluster: the pod ends, and nothing is copied out of one that ended.
        command: [bash, -c, 'verdict=0; remora-integration --junit /out/junit.xml "\$@" || verdict=\$?;
          [ ! -e /out/junit.xml ] || kubectl create configmap junit-$job --from-file=/out/junit.xml; exit \$verdict', suite$words]
        env:
        - {name: HOME, value: /tmp}
        - {name: REMORA_SERVER, value: "http://remora.$space.svc:7600"}
        - {name: REMORA_KEY, valueFrom: {secretKeyRef: {name: remora-admin-key, key: key}}}
        - {name: REMORA_NAMESPACE, value: $space}
        - {name: REMORA_TEST_IMAGE, value: $devserver}
        - {name: REMORA_TEST_DATABASES, value: "$databases"}
        - {name: REMORA_TEST_INGRESS, value: "$ingress"}
        - {name: REMORA_HOST_FAULTS, value: "$bare_rig"}
        - {name: REMORA_FULL_PROFILE, value: "$full_profile"}
        - {name: REMORA_S3_ENDPOINT, value: "http://remora-trial-store.$space.svc:8333"}
        - {name: REMORA_S3_BUCKET, valueFrom: {secretKeyRef: {name: remora-store, key: bucket}}}
        - {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: remora-store, key: accessKey}}}
        - {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: remora-store, key: secretKey}}}
        resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 512Mi}}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: out, mountPath: /out}, {name: tmp, mountPath: /tmp}]
YAML
    # A benchmark asks for no faults, and each look of kubectl takes from the CPUs that it measures.
    if [ "$bench" = yes ]; then rest=20; else
        # A daemon that it starts outlives this run, and must not hold its lock.
        answer_host_faults 8>&- &
        faults=$!
    fi
    follow_job "$log" "$rest" || true
    [ -z "${faults:-}" ] || stop_faults
    # A benchmark has no cases.
    if [ "$bench" = no ]; then
        kubectl --namespace "$space" get configmap "junit-$job" -o jsonpath='{.data.junit\.xml}' >"$out/junit.xml" || {
            echo "integration: the suite left no JUnit: it ended before its end, see $log" >&2
            return 1
        }
        junit=$(grep -o '<testsuites [^>]*>' "$out/junit.xml" | head -n 1)
        echo "integration: $out/junit.xml: $junit"
    fi
    [ "$(job_verdict)" = Complete ]
}

# image_of NAME: its reference by digest, from the images that were just pushed.
image_of() { awk -v name="$1" '$1 == name { sub(/:[^:\/]*$/, "", $3); print $3 "@" $2 }' target/images.txt; }

# Prints Complete or Failed once the Job has ended.
job_verdict() {
    kubectl --namespace "$space" get job "$job" \
        -o jsonpath='{.status.conditions[?(@.status=="True")].type}' 2>/dev/null | grep -owE 'Complete|Failed' || true
}

# follow_job LOG SECONDS: prints the Job's log until it has ended, with so many seconds between two
# looks. The API server may be away meanwhile: that is one of the faults.
follow_job() {
    local seen=0 total ended='' deadline=$((SECONDS + ${SUITE_SECONDS:-3000} + 200))
    while :; do
        kubectl --namespace "$space" logs "job/$job" >"$1.new" 2>/dev/null || true
        total=$(wc -c <"$1.new")
        if [ "$total" -gt "$seen" ]; then
            tail -c "+$((seen + 1))" "$1.new"
            seen=$total
            mv "$1.new" "$1"
        fi
        if [ -n "$ended" ] || [ "$SECONDS" -gt "$deadline" ]; then break; fi
        # After the end once more: what was written last.
        ended=$(job_verdict)
        [ -n "$ended" ] || sleep "$2"
    done
    rm -f "$1.new"
}
