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
  # Webhooks, and endpoints that events are delivered to.
  - apiGroups: [heed.dev]
    resources: [eventsources, subscriptions]
    verbs: [list, watch]
  - apiGroups: [heed.dev]
    resources: [eventsources/status, subscriptions/status]
    verbs: [patch]
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
