{{/* What selects the pods that are scraped: those of models, which `promote` makes, Argo's controller and the exporter. */}}
{{- define "toolchain.prometheus.asked" -}}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [model-server, argo-workflow-controller, exporter]
{{- end }}

{{/* Where Prometheus answers; empty when nobody said. */}}
{{- define "toolchain.prometheus.url" -}}
{{- if eq .Values.prometheus.kind "own" -}}
http://toolchain-prometheus.{{ .Release.Namespace }}:9090
{{- else -}}
{{ .Values.grafana.prometheusUrl }}
{{- end -}}
{{- end }}

{{- define "toolchain.prometheus.port" -}}
{{- $url := include "toolchain.prometheus.url" . | urlParse -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end }}

{{/* How much it may keep: 80 % of its volume, since compaction needs space too. Prometheus' MB are of 1024 times 1024 bytes. */}}
{{- define "toolchain.prometheus.most" -}}
{{ divf (mulf (include "toolchain.bytes" .Values.prometheus.persistence.size | float64) 0.8) 1048576.0 | floor | int64 }}MB
{{- end }}

{{/* A job of pods of this namespace that their annotations ask to be scraped: dict "name" its name "component" an expression. */}}
{{- define "toolchain.prometheus.job" -}}
- job_name: {{ .name }}
  kubernetes_sd_configs:
    - role: pod
      namespaces:
        own_namespace: true
  relabel_configs:
    - source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_component]
      regex: {{ .component }}
      action: keep
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape]
      regex: "true"
      action: keep
    # A pod that has ended answers nobody, which is no alarm.
    - source_labels: [__meta_kubernetes_pod_phase]
      regex: Succeeded|Failed
      action: drop
    - source_labels: [__meta_kubernetes_pod_ip, __meta_kubernetes_pod_annotation_prometheus_io_port]
      separator: ":"
      target_label: __address__
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
      regex: (.+)
      target_label: __metrics_path__
    - source_labels: [__meta_kubernetes_pod_name]
      target_label: instance
    # Rules keep namespaces apart by it; the operator adds it by itself.
    - source_labels: [__meta_kubernetes_namespace]
      target_label: namespace
{{- end }}

{{/* prometheus.yml. */}}
{{- define "toolchain.prometheus.config" -}}
global:
  scrape_interval: {{ .Values.prometheus.everySeconds }}s
  scrape_timeout: {{ min .Values.prometheus.everySeconds 10 }}s
  evaluation_interval: {{ .Values.prometheus.everySeconds }}s
rule_files:
  - rules.yml
{{- with .Values.prometheus.alertmanagers }}
alerting:
  alertmanagers:
    - static_configs:
        - targets: {{ toJson . }}
{{- end }}
scrape_configs:
  {{- include "toolchain.prometheus.job" (dict "name" "toolchain-serving" "component" "model-server") | nindent 2 }}
  {{- include "toolchain.prometheus.job" (dict "name" "toolchain-services" "component" "argo-workflow-controller|exporter") | nindent 2 }}
{{- end }}

{{/* Asks the operator for what a job does: dict "root" $ "name" "toolchain-serving" "components" (list "model-server") "port" the name of the pods' port. */}}
{{- define "toolchain.prometheus.monitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ .name }}
  labels:
    {{- include "toolchain.prometheus.chosen" .root | nindent 4 }}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/part-of: toolchain
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ .components | toJson }}}
  podMetricsEndpoints:
    - port: {{ .port }}
      interval: {{ .root.Values.prometheus.everySeconds }}s
      relabelings:
        - targetLabel: job
          replacement: {{ .name }}
        - sourceLabels: [__meta_kubernetes_pod_name]
          targetLabel: instance
{{- end }}

{{/* The labels of what the operator takes. */}}
{{- define "toolchain.prometheus.chosen" -}}
{{- include "toolchain.labels" (dict "root" . "component" "prometheus") }}
{{- with .Values.prometheus.operator.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
