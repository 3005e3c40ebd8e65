{{/* The Secret with username, password and secret-key. */}}
{{- define "toolchain.grafana.secret" -}}
{{ .Values.grafana.existingSecret | default "toolchain-grafana" }}
{{- end }}

{{/* The environment of Grafana, with the variables of files/grafana/provisioning. */}}
{{- define "toolchain.grafana.environment" -}}
{{- $url := include "toolchain.prometheus.url" . | required "grafana.prometheusUrl is not set: with an external Prometheus it is required" -}}
{{- $settings := dict
      "PROMETHEUS_URL" $url
      "SCRAPE_INTERVAL" (printf "%vs" .Values.prometheus.scrapeIntervalSeconds)
      "DASHBOARDS" "/etc/toolchain/dashboards"
      "GF_PATHS_PROVISIONING" "/etc/toolchain/provisioning"
      "GF_AUTH_ANONYMOUS_ENABLED" "false"
      "GF_USERS_ALLOW_SIGN_UP" "false"
      "GF_SECURITY_DISABLE_GRAVATAR" "true"
      "GF_ANALYTICS_REPORTING_ENABLED" "false"
      "GF_ANALYTICS_CHECK_FOR_UPDATES" "false"
      "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES" "false"
      "GF_PLUGINS_PREINSTALL_DISABLED" "true"
      "GF_NEWS_NEWS_FEED_ENABLED" "false" -}}
{{- range $variable, $value := $settings }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end }}
{{- range $variable, $key := dict "GF_SECURITY_ADMIN_USER" "username" "GF_SECURITY_ADMIN_PASSWORD" "password" "GF_SECURITY_SECRET_KEY" "secret-key" }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "toolchain.grafana.secret" $ }}
      key: {{ $key }}
{{- end }}
{{- end }}

{{/* The files of a folder of files/grafana as a ConfigMap's data: dict "root" $ "files" a pattern. */}}
{{- define "toolchain.grafana.files" -}}
{{ (.root.Files.Glob .files).AsConfig }}
{{- end }}
