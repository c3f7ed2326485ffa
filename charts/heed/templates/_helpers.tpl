{{- define "heed.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "heed.fullname" -}}
{{- $name := include "heed.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* (list $ "lease"): the full name with a suffix. 45 leave a StatefulSet room for the hash in its pods' labels. */}}
{{- define "heed.named" -}}
{{- printf "%s-%s" (include "heed.fullname" (first .) | trunc 45 | trimSuffix "-") (last .) }}
{{- end }}

{{/* (list $ "operator") */}}
{{- define "heed.selectorLabels" -}}
app.kubernetes.io/name: {{ include "heed.name" (first .) }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* (list $ "operator") */}}
{{- define "heed.labels" -}}
{{- include "heed.selectorLabels" . }}
{{- with first . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
{{- end }}

{{- define "heed.serviceAccountName" -}}
{{- default (ternary (include "heed.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "heed.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag }}
{{- with .Values.image }}{{ .repository }}:{{ $tag }}{{ with .digest }}@{{ . }}{{ end }}{{ end }}
{{- end }}

{{/* Names in `roleRef` and `kind` depend on whether one namespace is watched or all of them. */}}
{{- define "heed.roleKind" -}}
{{- ternary "Role" "ClusterRole" (ne .Values.watchNamespace "") }}
{{- end }}

{{/* Cluster-wide objects of two releases with one name in two namespaces must not collide. */}}
{{- define "heed.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "heed.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Empty for no. */}}
{{- define "heed.webhook" -}}
{{- if kindIs "bool" .Values.webhook.enabled }}{{ ternary "yes" "" .Values.webhook.enabled }}
{{- else }}{{ ternary "yes" "" (eq .Values.watchNamespace "") }}
{{- end }}
{{- end }}

{{/* Under which senders reach the gateway. */}}
{{- define "heed.gatewayUrl" -}}
{{- if .Values.gateway.url }}{{ .Values.gateway.url }}
{{- else }}{{ ternary "https" "http" (ne .Values.gateway.tls.secretName "") }}://{{ include "heed.named" (list . "gateway") }}.{{ .Release.Namespace }}.svc
{{- end }}
{{- end }}

{{/* Empty for no. */}}
{{- define "heed.approvals" -}}
{{- if kindIs "bool" .Values.approvals.enabled }}{{ ternary "yes" "" .Values.approvals.enabled }}
{{- else }}{{ ternary "yes" "" (eq .Values.watchNamespace "") }}
{{- end }}
{{- end }}

{{- define "heed.answerPolicy" -}}
{{- include "heed.clusterName" . | trunc 54 | trimSuffix "-" }}-answers
{{- end }}

{{- define "heed.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Annotations of what `helm test` makes; the argument is the weight. Nothing is left, whatever the outcome. */}}
{{- define "heed.testHook" -}}
helm.sh/hook: test
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end }}
