{{/* Rights of the gateway; each document begins with its separator. */}}
{{- define "heed.gatewayRights" }}
{{- $name := include "heed.named" (list . "gateway") }}
{{- $cluster := printf "%s-gateway" (include "heed.clusterName" . | trunc 54 | trimSuffix "-") }}
{{- $labels := include "heed.labels" (list . "gateway") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ include "heed.roleKind" . }}
metadata:
  name: {{ $cluster }}
  {{- with .Values.watchNamespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
rules:
  # Whether there is an Agent of this name, and its labels.
  - apiGroups: [heed.dev]
    resources: [agents]
    verbs: [get]
  # Who may publish.
  - apiGroups: [heed.dev]
    resources: [agentpolicies]
    verbs: [list, watch]
  # Webhooks{{ if .Values.gateway.subscriptions.enabled }}, and endpoints that events are delivered to{{ end }}.
  - apiGroups: [heed.dev]
    resources: [eventsources{{ if .Values.gateway.subscriptions.enabled }}, subscriptions{{ end }}]
    verbs: [list, watch]
  - apiGroups: [heed.dev]
    resources: [eventsources/status{{ if .Values.gateway.subscriptions.enabled }}, subscriptions/status{{ end }}]
    verbs: [patch]
  {{- if .Values.gateway.approvalLinks.enabled }}
  # Answers by link, of which it reads those whose names it knows.
  - apiGroups: [heed.dev]
    resources: [approvalanswers]
    verbs: [create, get]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ include "heed.roleKind" . }}Binding
metadata:
  name: {{ $cluster }}
  {{- with .Values.watchNamespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ include "heed.roleKind" . }}
  name: {{ $cluster }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ .Release.Namespace }}
{{- $each := dict }}
{{- range $item := .Values.gateway.secrets }}
{{- $known := get $each $item.namespace | default dict }}
{{- $all := or (not $item.names) ($known.all | default false) }}
{{- $_ := set $each $item.namespace (dict "all" $all "names" (concat ($known.names | default list) ($item.names | default list) | uniq)) }}
{{- end }}
{{- range $namespace := keys $each | sortAlpha }}
{{- $item := get $each $namespace }}
---
# Secrets that webhooks and sinks name. None can be listed.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $cluster }}-secrets
  namespace: {{ $namespace }}
  labels: {{- $labels | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [secrets]
    {{- if not $item.all }}
    resourceNames: {{- toYaml $item.names | nindent 6 }}
    {{- end }}
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $cluster }}-secrets
  namespace: {{ $namespace }}
  labels: {{- $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $cluster }}-secrets
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $.Release.Namespace }}
{{- end }}
{{- if .Values.gateway.audience }}
---
# Whose token it is. There is no such right in a namespace.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $cluster }}-tokens
  labels: {{- $labels | nindent 4 }}
rules:
  - apiGroups: [authentication.k8s.io]
    resources: [tokenreviews]
    verbs: [create]
  {{- if .Values.gateway.approvalLinks.enabled }}
  # Whether who shows it may make approval links.
  - apiGroups: [authorization.k8s.io]
    resources: [subjectaccessreviews]
    verbs: [create]
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $cluster }}-tokens
  labels: {{- $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $cluster }}-tokens
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ .Release.Namespace }}
{{- end }}
{{- if and .Values.gateway.approvalLinks.enabled (not .Values.gateway.approvalLinks.keys.secretName) }}
---
# The key of approval links, which it makes once.
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "heed.named" (list . "gateway-links") }}
  namespace: {{ .Release.Namespace }}
  labels: {{- $labels | nindent 4 }}
rules:
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [{{ include "heed.named" (list . "gateway-links") }}]
    verbs: [get, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ include "heed.named" (list . "gateway-links") }}
  namespace: {{ .Release.Namespace }}
  labels: {{- $labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ include "heed.named" (list . "gateway-links") }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ .Release.Namespace }}
{{- end }}
{{- if .Values.gateway.approvalLinks.enabled }}
---
# Who may make approval links: bind it in a namespace. Nobody has it by default; it holds nothing for the gateway.
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ include "heed.roleKind" . }}
metadata:
  name: {{ $cluster }}-linker
  {{- with .Values.watchNamespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "heed.labels" (list . "linker") | nindent 4 }}
rules:
  - apiGroups: [heed.dev]
    resources: [approvalanswers/links]
    verbs: [create]
{{- end }}
{{- if .Values.gateway.knative }}
---
# Added to what Knative's controllers may read: it holds nothing for the gateway.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $cluster }}-addressable
  labels:
    duck.knative.dev/addressable: "true"
    {{- $labels | nindent 4 }}
rules:
  - apiGroups: [heed.dev]
    resources: [agents, agents/status]
    verbs: [get, list, watch]
{{- end }}
{{- end }}

{{/* The Secret and key of the credentials with which Subscriptions read events; empty: the gateway's. */}}
{{- define "heed.subscriptionsCredentials" -}}
{{- $nats := .Values.nats }}
{{- with .Values.gateway.subscriptions }}
{{- if .enabled }}
{{- $keys := default (include "heed.natsKeys" $) $nats.existingSecret }}
{{- if .credentials.secretName }}
secretName: {{ .credentials.secretName }}
key: {{ .credentials.key | quote }}
{{- else if and $keys (not $nats.credentials.secretName) (not $.Values.gateway.credentials.secretName) }}
secretName: {{ $keys }}
key: subscriptions.creds
{{- end }}
{{- end }}
{{- end }}
{{- end }}
