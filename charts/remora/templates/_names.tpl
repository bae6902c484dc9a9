{{/* The release's name for an object of the control plane. */}}
{{- define "remora.name" -}}
{{- if contains "remora" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-remora" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "remora.trialStoreName" -}}
{{ include "remora.name" . }}-trial-store
{{- end -}}

{{/* What selects the pods of a component: (list . "component"). */}}
{{- define "remora.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: remora
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* A map as KEY=VALUE,KEY=VALUE. */}}
{{- define "remora.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

{{/* Labels of every object: (list . "component"). */}}
{{- define "remora.labels" -}}
{{- $root := index . 0 -}}
{{ include "remora.selector" . }}
app.kubernetes.io/part-of: remora
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The reference of an image: (list . "controlPlane"). */}}
{{- define "remora.image" -}}
{{- $root := index . 0 -}}
{{- $image := index $root.Values.image (index . 1) -}}
{{- with $root.Values.image.registry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{ $image.repository }}
{{- if $image.digest -}}@{{ $image.digest }}
{{- else -}}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "remora.scheme" -}}
{{ ternary "https" "http" (not (empty .Values.tls.existingSecret)) }}
{{- end -}}

{{/* Nothing that Pod Security `restricted` forbids. */}}
{{- define "remora.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "remora.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The Secret with the store's keys; empty with web identity. */}}
{{- define "remora.storeSecret" -}}
{{- $store := .Values.store -}}
{{- if and $store.webIdentity.stsEndpoint (not $store.webIdentity.roleArn) -}}
{{ fail "store.webIdentity.stsEndpoint is set and store.webIdentity.roleArn is not: say which role the token service is to give, or leave both empty" }}
{{- else if not $store.webIdentity.roleArn -}}
{{ $store.existingSecret | default "remora-store" }}
{{- else if $store.existingSecret -}}
{{ fail "store.existingSecret and store.webIdentity.roleArn are both set: a store is opened with keys or with a role, so leave one of them empty" }}
{{- else if .Values.trialStore.enabled -}}
{{ fail "trialStore.enabled: the trial store takes keys and gives no roles; set store.existingSecret in place of store.webIdentity.roleArn" }}
{{- else if not $store.bucket -}}
{{ fail "store.bucket is empty: with store.webIdentity there is no Secret that names the bucket" }}
{{- else if and $store.endpoint (not $store.webIdentity.stsEndpoint) (not (regexMatch "\\.amazonaws\\.com(\\.cn)?(:[0-9]+)?/?$" $store.endpoint)) -}}
{{ fail (printf "store.webIdentity.stsEndpoint is empty: the store %s is not AWS, so say which token service gives the role; MinIO, Ceph and SeaweedFS do it at the store's own URL" $store.endpoint) }}
{{- end -}}
{{- end -}}

{{/* An environment variable from a value, else from a key of the store's Secret: (list . NAME value key optional). */}}
{{- define "remora.storeVariable" -}}
{{- $root := index . 0 -}}
{{- $secret := include "remora.storeSecret" $root -}}
{{- if index . 2 -}}
- name: {{ index . 1 }}
  value: {{ index . 2 | quote }}
{{- else if $secret -}}
- name: {{ index . 1 }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ index . 3 }}, optional: {{ index . 4 }}}}
{{- end }}
{{- end -}}

{{- define "remora.storeEndpoint" -}}
{{- if .Values.trialStore.enabled -}}
http://{{ include "remora.trialStoreName" . }}.{{ .Release.Namespace }}.svc:8333
{{- else -}}
{{ .Values.store.endpoint }}
{{- end -}}
{{- end -}}

{{/* The ports that the control plane may connect to anywhere, as a list in JSON. */}}
{{- define "remora.egressPorts" -}}
{{- $ports := dict -}}
{{- range .Values.networkPolicy.egressPorts -}}
{{- $_ := set $ports (toString .) true -}}
{{- end -}}
{{- range concat .Values.insecureRegistries (list (include "remora.storeEndpoint" .) .Values.store.webIdentity.stsEndpoint) -}}
{{- with regexFind ":[0-9]+(/|$)" . | trimPrefix ":" | trimSuffix "/" -}}
{{- $_ := set $ports . true -}}
{{- end -}}
{{- end -}}
{{- keys $ports | sortAlpha | toJson -}}
{{- end -}}
