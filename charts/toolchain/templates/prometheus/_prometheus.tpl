{{/* Selector of the scraped pods: model servers, which `promote` creates, Argo's controller and the exporter. */}}
{{- define "toolchain.prometheus.targets" -}}
matchExpressions:
  - key: app.kubernetes.io/component
    operator: In
    values: [model-server, argo-workflow-controller, exporter]
{{- end }}

{{/* Prometheus' URL; empty when it is not known. */}}
{{- define "toolchain.prometheus.url" -}}
{{- if eq .Values.prometheus.type "bundled" -}}
http://toolchain-prometheus.{{ .Release.Namespace }}:9090
{{- else -}}
{{ .Values.grafana.prometheusUrl }}
{{- end -}}
{{- end }}

{{- define "toolchain.prometheus.port" -}}
{{- $url := include "toolchain.prometheus.url" . | urlParse -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end }}

{{/* Maximum size of the stored metrics: 80 % of the volume, since compaction needs space too. Prometheus' MB are 1024 * 1024 bytes. */}}
{{- define "toolchain.prometheus.retentionSize" -}}
{{ divf (mulf (include "toolchain.bytes" .Values.prometheus.persistence.size | float64) 0.8) 1048576.0 | floor | int64 }}MB
{{- end }}

{{/* A scrape job for the annotated pods of a component in this namespace: dict "name" its name "component" a regular expression. */}}
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
    # Completed pods do not respond, which is not an error.
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
    # Rules group by namespace; the operator adds this label itself.
    - source_labels: [__meta_kubernetes_namespace]
      target_label: namespace
{{- end }}

{{/* prometheus.yml. */}}
{{- define "toolchain.prometheus.config" -}}
global:
  scrape_interval: {{ .Values.prometheus.scrapeIntervalSeconds }}s
  scrape_timeout: {{ min .Values.prometheus.scrapeIntervalSeconds 10 }}s
  evaluation_interval: {{ .Values.prometheus.scrapeIntervalSeconds }}s
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

{{/* The same job as a PodMonitor of the operator: dict "root" $ "name" "toolchain-serving" "components" (list "model-server") "port" the name of the pods' port. */}}
{{- define "toolchain.prometheus.monitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata:
  name: {{ .name }}
  labels:
    {{- include "toolchain.prometheus.operatorLabels" .root | nindent 4 }}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/part-of: toolchain
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ .components | toJson }}}
  podMetricsEndpoints:
    - port: {{ .port }}
      interval: {{ .root.Values.prometheus.scrapeIntervalSeconds }}s
      relabelings:
        - targetLabel: job
          replacement: {{ .name }}
        - sourceLabels: [__meta_kubernetes_pod_name]
          targetLabel: instance
{{- end }}

{{/* The labels of resources for the operator. */}}
{{- define "toolchain.prometheus.operatorLabels" -}}
{{- include "toolchain.labels" (dict "root" . "component" "prometheus") }}
{{- with .Values.prometheus.operator.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}
