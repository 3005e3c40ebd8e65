{{/* MLflow's URL, empty without MLflow. */}}
{{- define "toolchain.mlflow.uri" -}}
{{- if .Values.mlflow.enabled -}}
http://toolchain-mlflow.{{ .Release.Namespace }}:5000
{{- else -}}
{{ .Values.mlflow.external.uri }}
{{- end -}}
{{- end }}

{{/* The Secret with username, password and flask-secret-key. */}}
{{- define "toolchain.mlflow.secret" -}}
{{ .Values.mlflow.existingSecret | default "toolchain-mlflow" }}
{{- end }}

{{/*
Accepted host names: those inside the cluster, localhost for kubectl port-forward at any port, and those of the values. Cluster names have no
wildcard: `toolchain-mlflow.toolchain.svc.*` would accept toolchain-mlflow.toolchain.svc.example.com.
*/}}
{{- define "toolchain.mlflow.allowedHosts" -}}
{{- $name := printf "toolchain-mlflow.%s" .Release.Namespace -}}
{{- $inside := list "toolchain-mlflow" $name (printf "%s.svc" $name) (printf "%s.svc.%s" $name .Values.clusterDomain) -}}
{{- $hosts := list -}}
{{- range $inside -}}
{{- $hosts = concat $hosts (list . (printf "%s:5000" .)) -}}
{{- end -}}
{{- range list "localhost" "127.0.0.1" -}}
{{- $hosts = concat $hosts (list . (printf "%s:*" .)) -}}
{{- end -}}
{{ concat $hosts .Values.mlflow.allowedHosts | join "," }}
{{- end }}

{{/* The environment of both commands of files/serve_mlflow.py. */}}
{{- define "toolchain.mlflow.environment" -}}
- name: MYSQL_HOST
  value: {{ include "toolchain.mysql.host" . }}
- name: MYSQL_PORT
  value: {{ include "toolchain.mysql.port" . | quote }}
- name: MYSQL_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ include "toolchain.mysql.secret" . }}
      key: mlflow-password
- name: MLFLOW_AUTH_ADMIN_USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ include "toolchain.mlflow.secret" . }}
      key: username
{{- end }}
