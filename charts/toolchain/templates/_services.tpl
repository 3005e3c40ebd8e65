{{/* Where MySQL answers. */}}
{{- define "toolchain.mysql.host" -}}
{{- if .Values.mysql.enabled -}}
toolchain-mysql
{{- else -}}
{{ .Values.mysql.external.host | required "mysql.external.host is not set: mysql.enabled is false, so name the server to use" }}
{{- end -}}
{{- end }}

{{- define "toolchain.mysql.port" -}}
{{ ternary 3306 .Values.mysql.external.port .Values.mysql.enabled }}
{{- end }}

{{/* The Secret with root-password, kfp-password, ml-metadata-password and mlflow-password. */}}
{{- define "toolchain.mysql.secret" -}}
{{ .Values.mysql.existingSecret | default "toolchain-mysql" }}
{{- end }}

{{/* The S3 endpoint's URL. */}}
{{- define "toolchain.storage.endpoint" -}}
{{- if eq .Values.storage.kind "external" -}}
{{ .Values.storage.external.endpoint | required "storage.external.endpoint is not set: storage.kind is external, so give the URL of the S3 server" }}
{{- else -}}
http://toolchain-storage.{{ .Release.Namespace }}:9000
{{- end -}}
{{- end }}

{{/* MLflow's URL, empty when there is none. */}}
{{- define "toolchain.mlflow.uri" -}}
{{- if .Values.mlflow.enabled -}}
http://toolchain-mlflow.{{ .Release.Namespace }}:5000
{{- else -}}
{{ .Values.mlflow.external.uri }}
{{- end -}}
{{- end }}
