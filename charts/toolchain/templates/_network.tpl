{{/*
What a pod may reach, as its labels, beside DNS: (list "mysql" "storage" "mlflow" "kubernetes"). Everything else is closed to it and, but
for a Service's own port, it is closed to everything else. The pods of steps carry Kubeflow's label pipeline/runid and need none of these.
*/}}
{{- define "toolchain.reaches" -}}
{{- range . }}
toolchain/reaches-{{ . }}: "true"
{{- end }}
{{- end }}

{{/* Lets in those whose labels say that they reach it: dict "root" $ "component" "mysql" "port" 3306 "steps" whether the steps may too. */}}
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

{{/* Lets those out whose labels say so: dict "root" $ "component" "mysql" "ports" (list 3306) "inside" whether it is one of our pods. */}}
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

{{/* The pods of pipelines: those that Kubeflow labels with a run. */}}
{{- define "toolchain.stepPods" -}}
matchExpressions:
  - key: pipeline/runid
    operator: Exists
{{- end }}
