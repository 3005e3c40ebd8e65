{{/* Where the logs of a workflow's pods are kept in the bucket: Argo's placeholders, which it fills in itself. */}}
{{- define "toolchain.argo.logs" -}}
{{ "v2/artifacts/logs/{{workflow.name}}/{{pod.name}}" }}
{{- end }}

{{/* The settings of the workflow controller. */}}
{{- define "toolchain.argo.config" -}}
artifactRepository: |
  archiveLogs: true
  s3:
    endpoint: {{ include "toolchain.storage.address" . }}
    insecure: {{ ne (include "toolchain.storage.secure" .) "true" }}
    region: {{ .Values.storage.region }}
    bucket: {{ .Values.storage.bucket }}
    keyFormat: {{ include "toolchain.argo.logs" . | quote }}
    accessKeySecret:
      name: toolchain-steps
      key: AWS_ACCESS_KEY_ID
    secretKeySecret:
      name: toolchain-steps
      key: AWS_SECRET_ACCESS_KEY
# Argo's own containers in each pod.
executor: |
  imagePullPolicy: IfNotPresent
  resources:
    requests:
      cpu: 10m
      memory: 32Mi
    limits:
      memory: 512Mi
  securityContext:
    {{- include "toolchain.argo.securityContext" . | nindent 4 }}
# What a workflow that says nothing itself gets.
mainContainer: |
  imagePullPolicy: IfNotPresent
  securityContext:
    {{- include "toolchain.argo.securityContext" . | nindent 4 }}
# A pod that was evicted before its step began is made again, without counting as an attempt.
failedPodRestart: |
  enabled: true
metricsConfig: |
  enabled: true
  secure: false
{{- end }}

{{- define "toolchain.argo.securityContext" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}
