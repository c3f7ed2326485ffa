{{/* How the operator, and `helm test`, reach the broker. */}}

{{- define "heed.natsUrl" -}}
{{- if .Values.nats.embedded.enabled -}}
nats://{{ include "heed.named" (list . "nats") }}.{{ .Release.Namespace }}.svc:4222
{{- else -}}
{{ default "nats://nats.nats.svc:4222" .Values.nats.url }}
{{- end }}
{{- end }}

{{/* The Secret that the operator fills; empty where there is none. */}}
{{- define "heed.natsKeys" -}}
{{- with .Values.nats.embedded }}
{{- if and .enabled .auth.enabled }}{{ include "heed.named" (list $ "nats-keys") }}{{ end }}
{{- end }}
{{- end }}

{{/* Whether the operator mints credentials; empty for no. */}}
{{- define "heed.mints" -}}
{{- or (include "heed.natsKeys" .) .Values.nats.existingSecret .Values.nats.signing.secretName .Values.nats.workerSigning.secretName }}
{{- end }}

{{/* {files: {name: {secret|configMap, items: [keys]}}, env: [...]} for (list $ "operator"), "gateway", or "publisher", the test. */}}
{{- define "heed.natsAccess" -}}
{{- $ := first . }}
{{- $publisher := ne (last .) "operator" }}
{{- $nats := $.Values.nats }}
{{- $login := $nats.credentials }}
{{- if and (eq (last .) "gateway") $.Values.gateway.credentials.secretName }}{{ $login = $.Values.gateway.credentials }}{{ end }}
{{- $keys := include "heed.natsKeys" $ }}
{{- $creds := printf "%s.creds" (last .) }}
env:
  - name: HEED_NATS_URL
    value: {{ include "heed.natsUrl" $ | quote }}
{{- if $login.secretName }}
  - name: HEED_NATS_CREDENTIALS
    value: /etc/heed/nats-credentials/{{ $login.key }}
{{- else if or $nats.existingSecret (and $keys $publisher) }}
  - name: HEED_NATS_CREDENTIALS
    value: /etc/heed/nats-credentials/{{ $creds }}
{{- end }}
{{- with $nats.user }}
  - name: HEED_NATS_USER
    value: {{ . | quote }}
{{- end }}
{{- range $way := list "password" "token" }}
{{- with index $nats $way }}
{{- if .secretName }}
  - name: HEED_NATS_{{ upper $way }}_FILE
    value: /etc/heed/nats-{{ $way }}/{{ .key }}
{{- end }}
{{- end }}
{{- end }}
{{- if $nats.nkey.secretName }}
  - name: HEED_NATS_NKEY
    value: /etc/heed/nats-nkey/{{ $nats.nkey.key }}
{{- end }}
{{- with $nats.domain }}
  - name: HEED_NATS_DOMAIN
    value: {{ . | quote }}
{{- end }}
{{- if or $nats.ca.configMapName $nats.ca.secretName }}
  - name: HEED_NATS_CA
    value: /etc/heed/nats-ca/{{ $nats.ca.key }}
{{- end }}
{{- if $nats.tls.secretName }}
  - name: HEED_NATS_CERT
    value: /etc/heed/nats-tls/{{ $nats.tls.certKey }}
  - name: HEED_NATS_KEY
    value: /etc/heed/nats-tls/{{ $nats.tls.keyKey }}
{{- end }}
{{- if not $publisher }}
{{- if $keys }}
  - name: HEED_NATS_KEYS_SECRET
    value: {{ $keys | quote }}
{{- else if or $nats.signing.secretName $nats.existingSecret }}
  - name: HEED_NATS_SIGNING_KEY
    value: /etc/heed/nats-signing/{{ ternary $nats.signing.seedKey "account.seed" (ne $nats.signing.secretName "") }}
{{- if or (not $nats.signing.secretName) $nats.signing.accountKey }}
  - name: HEED_NATS_ACCOUNT
    valueFrom:
      secretKeyRef:
        name: {{ default $nats.existingSecret $nats.signing.secretName }}
        key: {{ ternary $nats.signing.accountKey "account.pub" (ne $nats.signing.secretName "") | quote }}
        optional: true
{{- end }}
{{- end }}
{{- with $nats.workerSigning }}
{{- if .secretName }}
  - name: HEED_NATS_WORKER_SIGNING_KEY
    value: /etc/heed/nats-workers/{{ .seedKey }}
{{- if .accountKey }}
  - name: HEED_NATS_WORKER_ACCOUNT
    valueFrom:
      secretKeyRef: {name: {{ .secretName }}, key: {{ .accountKey | quote }}, optional: true}
{{- end }}
{{- else if $nats.existingSecret }}
  - name: HEED_NATS_WORKER_SIGNING_KEY
    value: /etc/heed/nats-workers/workers.seed
{{- end }}
{{- end }}
{{- end }}
volumes:
{{- if $login.secretName }}
  - name: nats-credentials
    secret:
      secretName: {{ $login.secretName }}
      items: [{key: {{ $login.key | quote }}, path: {{ $login.key | quote }}}]
      defaultMode: 0440
{{- else if or $nats.existingSecret (and $keys $publisher) }}
  - name: nats-credentials
    secret:
      secretName: {{ default $keys $nats.existingSecret }}
      items: [{key: {{ $creds }}, path: {{ $creds }}}]
      defaultMode: 0440
{{- end }}
{{- range $way := list "password" "token" "nkey" }}
{{- with index $nats $way }}
{{- if .secretName }}
  - name: nats-{{ $way }}
    secret:
      secretName: {{ .secretName }}
      items: [{key: {{ .key | quote }}, path: {{ .key | quote }}}]
      defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
{{- if $nats.ca.configMapName }}
  - name: nats-ca
    configMap:
      name: {{ $nats.ca.configMapName }}
      items: [{key: {{ $nats.ca.key | quote }}, path: {{ $nats.ca.key | quote }}}]
{{- else if $nats.ca.secretName }}
  - name: nats-ca
    secret:
      secretName: {{ $nats.ca.secretName }}
      items: [{key: {{ $nats.ca.key | quote }}, path: {{ $nats.ca.key | quote }}}]
      defaultMode: 0440
{{- end }}
{{- if $nats.tls.secretName }}
  - name: nats-tls
    secret:
      secretName: {{ $nats.tls.secretName }}
      items:
        - {key: {{ $nats.tls.certKey | quote }}, path: {{ $nats.tls.certKey | quote }}}
        - {key: {{ $nats.tls.keyKey | quote }}, path: {{ $nats.tls.keyKey | quote }}}
      defaultMode: 0440
{{- end }}
{{- if and (not $publisher) (or $nats.signing.secretName $nats.existingSecret) }}
{{- $seed := ternary $nats.signing.seedKey "account.seed" (ne $nats.signing.secretName "") }}
  - name: nats-signing
    secret:
      secretName: {{ default $nats.existingSecret $nats.signing.secretName }}
      items: [{key: {{ $seed | quote }}, path: {{ $seed | quote }}}]
      defaultMode: 0440
{{- end }}
{{- if not $publisher }}
{{- with $nats.workerSigning }}
{{- if .secretName }}
  - name: nats-workers
    secret:
      secretName: {{ .secretName }}
      items: [{key: {{ .seedKey | quote }}, path: {{ .seedKey | quote }}}]
      defaultMode: 0440
{{- else if $nats.existingSecret }}
  - name: nats-workers  # keys of an earlier release have none
    secret:
      secretName: {{ $nats.existingSecret }}
      items: [{key: workers.seed, path: workers.seed}]
      optional: true
      defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The ports of the addresses, for a NetworkPolicy. */}}
{{- define "heed.natsPorts" -}}
{{- $ports := dict }}
{{- range splitList "," (include "heed.natsUrl" .) }}
{{- $url := urlParse (trim .) }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $_ := set $ports (default (get (dict "ws" "80" "wss" "443") $url.scheme | default "4222") $port) true }}
{{- end }}
{{- range keys $ports | sortAlpha }}
- {{ . }}
{{- end }}
{{- end }}
