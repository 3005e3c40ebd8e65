{{/* A CronJob of two containers that run in sequence and share the dumps: dict "root" $ "component" "backup" "first" "then" "suspended". */}}
{{- define "toolchain.backup.cronJob" -}}
{{- if not (include "toolchain.mysql.administrator" .root) -}}
{{- fail "mysql.external.user is empty, so the databases cannot be dumped: set it, or set backup.enabled to false" -}}
{{- end -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: toolchain-{{ .component }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
spec:
  schedule: {{ .root.Values.backup.schedule | quote }}
  timeZone: Etc/UTC
  suspend: {{ .suspended | default false }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  jobTemplate:
    metadata:
      labels:
        {{- include "toolchain.labels" . | nindent 8 }}
    spec:
      backoffLimit: 2
      activeDeadlineSeconds: 7200
      template:
        metadata:
          labels:
            {{- include "toolchain.labels" . | nindent 12 }}
            {{- include "toolchain.reaches" (list "mysql" "storage") | nindent 12 }}
        spec:
          {{- include "toolchain.pod" . | nindent 10 }}
          restartPolicy: Never
          initContainers:
            {{- .first | nindent 12 }}
          containers:
            {{- .then | nindent 12 }}
          volumes:
            - name: dumps
              emptyDir: {}
            - name: temporary
              emptyDir: {}
{{- end }}

{{/* A container that runs a script of files/ with MySQL's programs: dict "root" $ "name" "dump" "script" "files/dump.sh". */}}
{{- define "toolchain.backup.mysql" -}}
- name: {{ .name }}
  {{- include "toolchain.container" (dict "root" .root "image" "mysql") | nindent 2 }}
  command: {{ list "bash" "-c" (.root.Files.Get .script) | toJson }}
  env:
    - name: DUMPS
      value: /dumps
    {{- include "toolchain.mysql.administrator.environment" .root | nindent 4 }}
  resources:
    {{- include "toolchain.resources.small" .root | nindent 4 }}
  volumeMounts:
    {{- include "toolchain.backup.mounts" . | nindent 4 }}
{{- end }}

{{/* A container that moves the dumps to or from S3: dict "root" $ "name" "store" "arguments" of the program. */}}
{{- define "toolchain.backup.storage" -}}
- name: {{ .name }}
  {{- include "toolchain.container" (dict "root" .root "image" "base") | nindent 2 }}
  command: {{ concat (list "python" "-m" "toolchain.services.storage.backups") .arguments | toJson }}
  env:
    {{- include "toolchain.storage.environment" (dict "root" .root "role" "backup") | nindent 4 }}
    - name: TOOLCHAIN_BACKUP
      value: ""
  resources:
    {{- include "toolchain.resources.small" .root | nindent 4 }}
  volumeMounts:
    {{- include "toolchain.backup.mounts" . | nindent 4 }}
{{- end }}

{{- define "toolchain.backup.mounts" -}}
- name: dumps
  mountPath: /dumps
- name: temporary
  mountPath: /tmp
{{- end }}
