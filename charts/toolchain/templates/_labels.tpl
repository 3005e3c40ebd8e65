{{/* The labels of a resource: dict "root" $ "component" "mysql". */}}
{{- define "toolchain.labels" -}}
{{ include "toolchain.selector" . }}
app.kubernetes.io/part-of: toolchain
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The selector of a component's pods: dict "root" $ "component" "mysql". */}}
{{- define "toolchain.selector" -}}
app.kubernetes.io/name: toolchain
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}
