{{/* MySQL's host. */}}
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
{{- if .Values.mysql.enabled -}}
{{ .Values.mysql.existingSecret | default "toolchain-mysql" }}
{{- else -}}
{{ .Values.mysql.existingSecret | required "mysql.existingSecret is not set: mysql.enabled is false, so name the Secret with the users' passwords" }}
{{- end -}}
{{- end }}

{{/* The user that creates databases and users; empty when they exist. */}}
{{- define "toolchain.mysql.administrator" -}}
{{ ternary "root" .Values.mysql.external.user .Values.mysql.enabled }}
{{- end }}

{{/* The environment of MySQL's programs: the server, and the administrator's password. */}}
{{- define "toolchain.mysql.administrator.environment" -}}
- name: MYSQL_HOST
  value: {{ include "toolchain.mysql.host" . }}
- name: MYSQL_PORT
  value: {{ include "toolchain.mysql.port" . | quote }}
- name: MYSQL_ADMINISTRATOR
  value: {{ include "toolchain.mysql.administrator" . }}
- name: MYSQL_PWD
  valueFrom:
    secretKeyRef:
      name: {{ include "toolchain.mysql.secret" . }}
      key: root-password
{{- end }}
