{{/* The key of the logs of a workflow's pods in the bucket, with Argo's placeholders. */}}
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
# Argo's own containers in each pod. Their limits equal their requests: otherwise no step could be Guaranteed.
executor: |
  imagePullPolicy: IfNotPresent
  resources:
    requests: &executor {cpu: 100m, memory: 256Mi}
    limits: *executor
  securityContext:
    {{- include "toolchain.argo.securityContext" . | nindent 4 }}
# Defaults of workflows.
mainContainer: |
  imagePullPolicy: IfNotPresent
  securityContext:
    {{- include "toolchain.argo.securityContext" . | nindent 4 }}
# A pod that was evicted before its step started is created again, without counting as an attempt.
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
