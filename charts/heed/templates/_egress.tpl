{{/* What operator and gateway reach: DNS, the API server and NATS. */}}
{{- define "heed.egress" -}}
# DNS; where it is differs between clusters.
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
# The API server.
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - port: {{ . }}
    {{- end }}
  {{- with .Values.networkPolicy.apiServerCidrs }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
# NATS.
- ports:
    {{- range include "heed.natsPorts" . | fromYamlArray }}
    - port: {{ . }}
    {{- end }}
  {{- if .Values.nats.embedded.enabled }}
  to:
    - podSelector:
        matchLabels: {{- include "heed.selectorLabels" (list . "nats") | nindent 10 }}
  {{- end }}
{{- end }}
