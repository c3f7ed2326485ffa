{{/* (list own extra): variables by name. A name may be there once only, and extra has the last word. */}}
{{- define "heed.overridden" -}}
{{- $taken := dict }}
{{- range last . }}
{{- $_ := set $taken .name true }}
{{- end }}
{{- $variables := list }}
{{- range first . }}
{{- if not (hasKey $taken .name) }}
{{- $variables = append $variables . }}
{{- end }}
{{- end }}
{{- toYaml (concat $variables (last .)) }}
{{- end }}

{{/* The operator's. */}}
{{- define "heed.environment" -}}
{{- $access := include "heed.natsAccess" (list . "operator") | fromYaml }}
{{- $own := include "heed.ownEnvironment" . | fromYamlArray }}
{{- include "heed.overridden" (list (concat $access.env $own) .Values.extraEnv) }}
{{- end }}

{{/* The gateway's. */}}
{{- define "heed.gatewayEnvironment" -}}
{{- $access := include "heed.natsAccess" (list . "gateway") | fromYaml }}
{{- $own := include "heed.ownGatewayEnvironment" . | fromYamlArray }}
{{- include "heed.overridden" (list (concat $access.env $own) .Values.gateway.extraEnv) }}
{{- end }}

{{- define "heed.ownGatewayEnvironment" -}}
- name: HEED_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: HEED_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: HEED_HEALTH_PORT
  value: "8080"
- name: HEED_METRICS_PORT
  value: {{ ternary "9090" "0" .Values.metrics.enabled | quote }}
{{- with .Values.watchNamespace }}
- name: HEED_NAMESPACE
  value: {{ . | quote }}
{{- end }}
- name: HEED_GATEWAY_PORT
  value: "8090"
- name: HEED_GATEWAY_URL
  value: {{ include "heed.gatewayUrl" . | quote }}
- name: HEED_GATEWAY_AUDIENCE
  value: {{ .Values.gateway.audience | quote }}
{{- if .Values.gateway.tokens.secretName }}
- name: HEED_GATEWAY_TOKENS
  value: /etc/heed/tokens
{{- end }}
{{- if .Values.gateway.tls.secretName }}
- name: HEED_GATEWAY_CERTIFICATE
  value: /etc/heed/tls
{{- end }}
- name: HEED_GATEWAY_SUBSCRIPTIONS
  value: {{ ternary "1" "0" .Values.gateway.subscriptions.enabled | quote }}
{{- with include "heed.subscriptionsCredentials" . | fromYaml }}
{{- if .key }}
- name: HEED_GATEWAY_SUBSCRIPTIONS_CREDENTIALS
  value: /etc/heed/subscriptions-credentials/{{ .key }}
{{- end }}
{{- end }}
{{- with .Values.gateway.subscriptions.networks }}
- name: HEED_GATEWAY_SINK_NETWORKS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .Values.gateway.approvalLinks }}
{{- if and .enabled .keys.secretName }}
- name: HEED_GATEWAY_LINK_KEYS
  value: /etc/heed/link-keys
{{- else if .enabled }}
- name: HEED_GATEWAY_LINK_SECRET
  value: {{ include "heed.named" (list $ "gateway-links") | quote }}
{{- end }}
{{- end }}
{{- with .Values.gateway.allowedOrigins }}
- name: HEED_GATEWAY_ALLOWED_ORIGINS
  value: {{ join "," . | quote }}
{{- end }}
{{- range $key, $value := .Values.gateway.limits }}
{{- if not (kindIs "invalid" $value) }}
- name: HEED_GATEWAY_{{ $key | snakecase | upper }}
  value: {{ $value | int64 | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of `helm test`: where extraEnv says how to reach the broker, it is meant too. */}}
{{- define "heed.testEnvironment" -}}
{{- $access := include "heed.natsAccess" (list . "publisher") | fromYaml }}
{{- $extra := list }}
{{- range .Values.extraEnv }}
{{- if and (hasPrefix "HEED_NATS_" .name) (not (has .name (list "HEED_NATS_SIGNING_KEY" "HEED_NATS_ACCOUNT" "HEED_NATS_KEYS_SECRET"))) }}
{{- $extra = append $extra . }}
{{- end }}
{{- end }}
{{- include "heed.overridden" (list $access.env $extra) }}
{{- end }}

{{- define "heed.ownEnvironment" -}}
{{- if .Values.workers.enabled }}
- name: HEED_WORKER_IMAGE
  value: {{ include "heed.image" . | quote }}
{{- end }}
{{- with .Values.workers.callNetworks }}
- name: HEED_CALL_NETWORKS
  value: {{ join "," . | quote }}
{{- end }}
- name: HEED_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: HEED_LOG_LEVEL
  value: {{ .Values.log.level | quote }}
- name: HEED_HEALTH_PORT
  value: "8080"
- name: HEED_METRICS_PORT
  value: {{ ternary "9090" "0" .Values.metrics.enabled | quote }}
{{- with .Values.watchNamespace }}
- name: HEED_NAMESPACE
  value: {{ . | quote }}
{{- end }}
{{- if .Values.election.enabled }}
- name: HEED_LEASE
  value: {{ include "heed.fullname" . | quote }}
- name: HEED_LEASE_NAMESPACE
  value: {{ .Release.Namespace | quote }}
- name: HEED_IDENTITY
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
{{- else }}
- name: HEED_LEASE
  value: none
{{- end }}
{{- if .Values.gateway.enabled }}
- name: HEED_GATEWAY_URL
  value: {{ include "heed.gatewayUrl" . | quote }}
- name: HEED_GATEWAY_AUDIENCE
  value: {{ .Values.gateway.audience | quote }}
{{- end }}
{{- if include "heed.webhook" . }}
- name: HEED_WEBHOOK_PORT
  value: "9443"
{{- if .Values.webhook.certManager.enabled }}
- name: HEED_WEBHOOK_CERTIFICATE
  value: /etc/heed/webhook
{{- else }}
- name: HEED_WEBHOOK_SERVICE
  value: {{ include "heed.named" (list . "webhook") | quote }}
- name: HEED_WEBHOOK_SECRET
  value: {{ include "heed.named" (list . "webhook") | quote }}
- name: HEED_WEBHOOK_CONFIGURATION
  value: {{ include "heed.clusterName" . | quote }}
{{- end }}
{{- end }}
{{- if include "heed.approvals" . }}
- name: HEED_ANSWER_POLICY
  value: {{ include "heed.answerPolicy" . | quote }}
{{- end }}
{{- if not (kindIs "invalid" .Values.approvals.retention) }}
- name: HEED_ANSWER_RETENTION
  value: {{ .Values.approvals.retention | int64 | quote }}
{{- end }}
{{- with .Values.tasks.natsUrl }}
- name: HEED_TASK_NATS_URL
  value: {{ . | quote }}
{{- end }}
{{- if not (kindIs "invalid" .Values.tasks.credentialsLifetime) }}
- name: HEED_CREDENTIALS_LIFETIME
  value: {{ .Values.tasks.credentialsLifetime | int64 | quote }}
{{- end }}
{{- range $key, $value := .Values.stream }}
{{- if not (kindIs "invalid" $value) }}
- name: HEED_STREAM_{{ $key | snakecase | upper }}
  value: {{ $value | int64 | quote }}
{{- end }}
{{- end }}
{{- end }}
