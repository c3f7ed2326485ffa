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

{{- define "heed.selectorLabels" -}}
app.kubernetes.io/name: {{ include "heed.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "heed.labels" -}}
{{ include "heed.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
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
{{- define "heed.roleName" -}}
{{- printf "%s-%s" .Release.Namespace (include "heed.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "heed.replicas" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.election.enabled) }}
{{- fail "replicas: more than 1 needs election.enabled; without an election every replica takes itself for the only one" }}
{{- end }}
{{- .Values.replicas }}
{{- end }}

{{/* Beside the Role of `watchNamespace`, which may be in the same namespace. */}}
{{- define "heed.leaseRoleName" -}}
{{- printf "%s-lease" (include "heed.fullname" . | trunc 57 | trimSuffix "-") }}
{{- end }}
