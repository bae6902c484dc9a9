{{/* Where the controller asks whether a request may pass. */}}
{{- define "remora.authUrl" -}}
{{- if .Values.routing.authUrl -}}
{{ .Values.routing.authUrl }}
{{- else -}}
{{ include "remora.scheme" . }}://{{ include "remora.name" . }}.{{ .Release.Namespace }}.svc.cluster.local:{{ .Values.service.port }}/auth/verify
{{- end -}}
{{- end -}}

{{/* Variables of the server about exposed ports; none where there is no domain for them. */}}
{{- define "remora.routing" -}}
{{- $routing := .Values.routing -}}
{{- $tls := $routing.tls -}}
{{- if and (ne $routing.mode "router") (not $routing.domain) -}}
{{ fail (printf "routing.domain is empty: with routing.mode %s each exposed port has a name below it" $routing.mode) }}
{{- else if and (ne $routing.mode "router") (not $routing.from.namespace) -}}
{{ fail "routing.from.namespace is empty: say where the controller's pods are, which projects let in to exposed ports" }}
{{- else if and (eq $routing.mode "gateway") (not (and $routing.gateway.namespace $routing.gateway.name)) -}}
{{ fail "routing.gateway.namespace or .name is empty: say which Gateway has the routes" }}
{{- else if and $tls.clusterIssuer $tls.existingSecret -}}
{{ fail "routing.tls.clusterIssuer and routing.tls.existingSecret are both set: a certificate comes from one of them" }}
{{- else if and (not $tls.enabled) (or $tls.clusterIssuer $tls.existingSecret) -}}
{{ fail "routing.tls.enabled is false, and routing.tls says where certificates come from" }}
{{- else if $routing.domain -}}
- name: REMORA_ROUTING
  value: {{ $routing.mode }}
- name: REMORA_ROUTE_DOMAIN
  value: {{ $routing.domain | quote }}
- name: REMORA_ROUTE_CONTROLLER
  value: {{ $routing.controller }}
- name: REMORA_ROUTE_TLS
{{- if not $tls.enabled }}
  value: "off"
{{- else if $tls.clusterIssuer }}
  value: issuer:{{ $tls.clusterIssuer }}
{{- else if $tls.existingSecret }}
  value: secret:{{ $tls.existingSecret }}
{{- else }}
  value: controller
{{- end }}
{{- with $routing.loginUrl }}
- name: REMORA_ROUTE_LOGIN_URL
  value: {{ . | quote }}
{{- end }}
{{- with $routing.corsOrigins }}
- name: REMORA_ROUTE_CORS_ORIGINS
  value: {{ join "," . | quote }}
{{- end }}
{{- with $routing.frameAncestors }}
- name: REMORA_ROUTE_FRAME_ANCESTORS
  value: {{ join "," . | quote }}
{{- end }}
{{- if ne $routing.mode "router" }}
- name: REMORA_ROUTE_AUTH_URL
  value: {{ include "remora.authUrl" . | quote }}
- name: REMORA_ROUTE_FROM
  value: {{ $routing.from.namespace | quote }}
{{- with $routing.from.podLabels }}
- name: REMORA_ROUTE_FROM_LABELS
  value: {{ include "remora.pairs" . | quote }}
{{- end }}
{{- with $routing.ingressClass }}
- name: REMORA_ROUTE_INGRESS_CLASS
  value: {{ . | quote }}
{{- end }}
{{- if eq $routing.mode "gateway" }}
- name: REMORA_ROUTE_GATEWAY
  value: {{ printf "%s/%s%s" $routing.gateway.namespace $routing.gateway.name (ternary (printf "/%s" $routing.gateway.listener) "" (not (empty $routing.gateway.listener))) | quote }}
{{- end }}
{{- with int64 $routing.requestsPerSecond }}
- name: REMORA_ROUTE_REQUESTS_PER_SECOND
  value: {{ . | quote }}
{{- end }}
{{- with int64 $routing.burst }}
- name: REMORA_ROUTE_BURST
  value: {{ . | quote }}
{{- end }}
{{- with int64 $routing.maxBodyBytes }}
- name: REMORA_ROUTE_MAX_BODY_BYTES
  value: {{ . | quote }}
{{- end }}
- name: REMORA_ROUTE_TIMEOUT_SECONDS
  value: {{ int64 $routing.timeoutSeconds | quote }}
{{- end }}
{{- end -}}
{{- end -}}
