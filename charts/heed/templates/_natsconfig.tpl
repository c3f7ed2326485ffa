{{/* Whole MiB, as nine tenths of a TiB are no whole number of anything larger. */}}
{{- define "heed.natsStore" -}}
{{- $size := .Values.nats.embedded.storage.size }}
{{- $mebibytes := get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) (regexFind "[A-Za-z]+$" $size) | int }}
{{- div (mul (regexFind "^[0-9]+" $size | int) $mebibytes 9) 10 }}MiB
{{- end }}

{{- define "heed.natsConfig" -}}
server_name: {{ include "heed.named" (list . "nats") }}
listen: 0.0.0.0:4222
# For `kubectl port-forward`. It knows no passwords, and shows what everybody subscribes to.
http: 127.0.0.1:8222
jetstream {
  store_dir: /data
  max_file_store: {{ include "heed.natsStore" . }}
  max_memory_store: 256MiB
}
{{- if .Values.nats.embedded.auth.enabled }}
# Relative to this file.
include ../nats-auth/auth.conf
{{- end }}
{{- end }}
