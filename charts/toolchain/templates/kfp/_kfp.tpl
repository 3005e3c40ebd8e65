{{/* The S3 endpoint without its scheme, host:port. */}}
{{- define "toolchain.storage.address" -}}
{{ regexReplaceAll "^https?://" (include "toolchain.storage.endpoint" .) "" }}
{{- end }}

{{/* "true" when the S3 endpoint uses HTTPS, else "false". */}}
{{- define "toolchain.storage.secure" -}}
{{ hasPrefix "https://" (include "toolchain.storage.endpoint" .) }}
{{- end }}

{{- define "toolchain.storage.host" -}}
{{ regexReplaceAll ":[0-9]+$" (include "toolchain.storage.address" .) "" }}
{{- end }}

{{/*
The token by which a part of KFP authenticates to the API server, for that audience only, under
/var/run/secrets/kubeflow/tokens/<name>. dict "name" "persistenceagent-sa-token".
*/}}
{{- define "toolchain.kfp.token" -}}
- name: token
  projected:
    sources:
      - serviceAccountToken:
          path: {{ .name }}
          audience: pipelines.kubeflow.org
          expirationSeconds: 3600
{{- end }}

{{/* The service account of a part of KFP or Argo, and the binding to the Role of its name: dict "root" $ "component" "kfp-ui" "name" "ml-pipeline-ui". */}}
{{- define "toolchain.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{- define "toolchain.accountBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .name }}
    namespace: {{ .root.Release.Namespace }}
{{- end }}

{{/* The API server's configuration; environment variables override it, as for its secrets. */}}
{{- define "toolchain.kfp.config" -}}
{{- $mysql := dict
      "Host" (include "toolchain.mysql.host" .)
      "Port" (include "toolchain.mysql.port" .)
      "User" "kfp"
      "DBName" "mlpipeline"
      "GroupConcatMaxLen" "4194304" -}}
{{- $storage := dict
      "Host" (include "toolchain.storage.host" .)
      "Port" (include "toolchain.storage.port" .)
      "Secure" (include "toolchain.storage.secure" .)
      "Region" .Values.storage.region
      "BucketName" .Values.storage.bucket
      "PipelinePath" "v2/pipelines" -}}
{{- /* The server does not start without the name of a visualization server, which it calls for pipelines of KFP 1 only. */ -}}
{{- dict
      "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_HOST" "localhost"
      "ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_PORT" "8889"
      "DBDriverName" "mysql"
      "DBConfig" (dict "MySQLConfig" $mysql "ConMaxLifeTime" "120s")
      "ObjectStoreConfig" $storage
      "InitConnectionTimeout" "6m"
      "DEFAULTPIPELINERUNNERSERVICEACCOUNT" "toolchain-steps"
      "CacheEnabled" "true"
      "CRON_SCHEDULE_TIMEZONE" "UTC"
    | toJson -}}
{{- end }}
