{{/*
A Job that runs once for each version of its pod and of its Secrets: a Job is immutable, so its name contains a digest of both.
dict "root" $ "component" "databases" "pod" the template of the pod's spec "reaches" (list "mysql") "secrets" as of toolchain.secret.checksum.
*/}}
{{- define "toolchain.job" -}}
{{- $pod := include .pod .root -}}
{{- $version := printf "%s%s" $pod (include "toolchain.secret.checksum" .) -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: toolchain-{{ .component }}-{{ $version | sha256sum | trunc 8 }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
spec:
  backoffLimit: 10
  activeDeadlineSeconds: 900
  template:
    metadata:
      labels:
        {{- include "toolchain.labels" . | nindent 8 }}
        {{- include "toolchain.reaches" .reaches | nindent 8 }}
    spec:
      {{- $pod | nindent 6 }}
{{- end }}

{{/* For containers that run for seconds. */}}
{{- define "toolchain.resources.small" -}}
requests:
  cpu: 50m
  memory: 64Mi
limits:
  memory: 512Mi
{{- end }}
