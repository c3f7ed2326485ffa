{{/* What one value alone cannot show to be wrong. */}}
{{- define "heed.checks" -}}
{{- $nats := .Values.nats }}
{{- if and (gt (int .Values.replicas) 1) (not .Values.election.enabled) }}
{{- fail "replicas: more than 1 needs election.enabled; without an election every replica takes itself for the only one" }}
{{- end }}
{{- if and .Values.watchNamespace (include "heed.webhook" .) }}
{{- fail "webhook.enabled: its configuration is cluster-wide, and with watchNamespace the operator has no rights there; leave it empty" }}
{{- end }}
{{- if and .Values.gateway.enabled .Values.gateway.approvalLinks.enabled (not (include "heed.approvals" .)) }}
{{- fail "gateway.approvalLinks.enabled: no answer of a link would be believed without approvals.enabled=true" }}
{{- end }}
{{- if and .Values.gateway.enabled .Values.gateway.approvalLinks.enabled (not .Values.gateway.audience) }}
{{- fail "gateway.approvalLinks.enabled: nobody could make a link without gateway.audience" }}
{{- end }}
{{- if and $nats.ca.configMapName $nats.ca.secretName }}
{{- fail "nats.ca: give configMapName or secretName, not both" }}
{{- end }}
{{- if ne (empty $nats.user) (empty $nats.password.secretName) }}
{{- fail "nats.user: it needs nats.password.secretName, and the other way round" }}
{{- end }}
{{- $logins := list }}
{{- range $name, $given := dict "credentials.secretName" $nats.credentials.secretName "user" $nats.user "token.secretName" $nats.token.secretName "nkey.secretName" $nats.nkey.secretName }}
{{- if $given }}{{ $logins = append $logins (printf "nats.%s" $name) }}{{ end }}
{{- end }}
{{- if and $nats.existingSecret (not $nats.credentials.secretName) }}{{ $logins = append $logins "nats.existingSecret" }}{{ end }}
{{- if gt (len $logins) 1 }}
{{- fail (printf "%s: the broker is told one of them; leave out the other" (sortAlpha $logins | join " and ")) }}
{{- end }}
{{- if $nats.embedded.enabled }}
{{- if $nats.url }}
{{- fail "nats.url: leave it empty with nats.embedded.enabled, or nobody would use the embedded server" }}
{{- end }}
{{- range $name, $given := dict "existingSecret" $nats.existingSecret "credentials.secretName" $nats.credentials.secretName "user" $nats.user "token.secretName" $nats.token.secretName "nkey.secretName" $nats.nkey.secretName "domain" $nats.domain "signing.secretName" $nats.signing.secretName "workerSigning.secretName" $nats.workerSigning.secretName "tls.secretName" $nats.tls.secretName "ca.secretName" $nats.ca.secretName "ca.configMapName" $nats.ca.configMapName }}
{{- if $given }}
{{- fail (printf "nats.%s: leave it empty with nats.embedded.enabled; the embedded server has keys of its own, and no TLS" $name) }}
{{- end }}
{{- end }}
{{- if gt (int .Values.stream.replicas) 1 }}
{{- fail "stream.replicas: the embedded server is a single one; leave it empty" }}
{{- end }}
{{- include "heed.checkStore" . }}
{{- end }}
{{- end }}

{{/* The server refuses streams whose limits do not fit into its store. */}}
{{- define "heed.checkStore" -}}
{{- $store := include "heed.natsStore" . | trimSuffix "MiB" | int64 }}
{{- $events := include "heed.mebibytes" (list .Values.stream.maxBytes 1024) | int64 }}
{{- $dead := include "heed.mebibytes" (list .Values.stream.deadMaxBytes 256) | int64 }}
{{- if gt (add $events $dead) $store }}
{{- fail (printf "nats.embedded.storage.size: JetStream takes nine tenths of it, %d MiB, and the streams may take %d MiB; raise it, or lower stream.maxBytes and stream.deadMaxBytes" $store (add $events $dead)) }}
{{- end }}
{{- end }}

{{/* (list bytes default): bytes in MiB, rounded up; the default, in MiB, where there are none. */}}
{{- define "heed.mebibytes" -}}
{{- if kindIs "invalid" (first .) }}{{ last . }}
{{- else }}{{ div (add (first . | int64) 1048575) 1048576 }}
{{- end }}
{{- end }}
