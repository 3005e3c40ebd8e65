{{/* The TLS endpoints whose certificates are monitored, HOST:PORT, as JSON: those of the values and of services outside the cluster. */}}
{{- define "toolchain.exporter.certificates" -}}
{{- $hosts := .Values.prometheus.certificates -}}
{{- range list (include "toolchain.storage.endpoint" .) (include "toolchain.mlflow.uri" .) -}}
{{- if hasPrefix "https://" . -}}
{{- $host := (urlParse .).host -}}
{{- $hosts = append $hosts (ternary $host (printf "%s:443" $host) (regexMatch ":[0-9]+$" $host)) -}}
{{- end -}}
{{- end -}}
{{ $hosts | uniq | toJson }}
{{- end }}
