{{/* Permits draining a node, but evicts one pod of a component at a time: dict "root" $ "component" "mysql". */}}
{{- define "toolchain.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: toolchain-{{ .component }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "toolchain.selector" . | nindent 6 }}
{{- end }}
