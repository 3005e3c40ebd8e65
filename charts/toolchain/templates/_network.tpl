{{/*
Labels of the services that a pod may connect to, besides DNS: (list "mysql" "storage" "mlflow" "kubernetes"). All other egress is denied, and
so is all ingress but to a Service's own port. The pods of steps have Kubeflow's label pipeline/runid and need none of these.
*/}}
{{- define "toolchain.reaches" -}}
{{- range . }}
toolchain/reaches-{{ . }}: "true"
{{- end }}
{{- end }}

{{/* Ingress from pods with the component's label: dict "root" $ "component" "mysql" "port" 3306 "steps" whether steps are admitted too. */}}
{{- define "toolchain.ingress" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: toolchain-{{ .component }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "toolchain.selector" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              toolchain/reaches-{{ .component }}: "true"
        {{- if .steps }}
        - podSelector:
            {{- include "toolchain.stepPods" . | nindent 12 }}
        {{- end }}
      ports:
        - port: {{ .port }}
{{- end }}

{{/* Egress of pods with the component's label: dict "root" $ "component" "mysql" "ports" (list 3306) "inside" whether the chart runs it. */}}
{{- define "toolchain.egress" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: toolchain-reaches-{{ .component }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      toolchain/reaches-{{ .component }}: "true"
  policyTypes: [Egress]
  egress:
    - ports:
        {{- range .ports }}
        - port: {{ . }}
        {{- end }}
      {{- if .inside }}
      to:
        - podSelector:
            matchLabels:
              {{- include "toolchain.selector" . | nindent 14 }}
      {{- end }}
{{- end }}

{{/* Selector of the pods of pipelines, which Kubeflow labels with their run. */}}
{{- define "toolchain.stepPods" -}}
matchExpressions:
  - key: pipeline/runid
    operator: Exists
{{- end }}
