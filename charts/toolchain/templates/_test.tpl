{{/*
A pod of `helm test` that runs a program of files/: dict "root" $ "component" "test-mlflow" "image" "mlflow"
"program" "files/check_mlflow.py" "environment" the template of its environment "reaches" (list "mlflow").
*/}}
{{- define "toolchain.test" -}}
apiVersion: v1
kind: Pod
metadata:
  name: toolchain-{{ .component }}
  labels:
    {{- include "toolchain.labels" . | nindent 4 }}
    {{- include "toolchain.reaches" .reaches | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  {{- include "toolchain.pod" . | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: test
      {{- include "toolchain.container" . | nindent 6 }}
      command: {{ list "python" "-c" (.root.Files.Get .program) | toJson }}
      env:
        {{- include .environment (.arguments | default .root) | nindent 8 }}
      resources:
        {{- include "toolchain.resources.small" .root | nindent 8 }}
      volumeMounts:
        - name: temporary
          mountPath: /tmp
  volumes:
    - name: temporary
      emptyDir: {}
{{- end }}

{{- define "toolchain.test.mlflow" -}}
- name: MLFLOW_TRACKING_URI
  value: {{ include "toolchain.mlflow.uri" . }}
{{- range list "MLFLOW_TRACKING_USERNAME" "MLFLOW_TRACKING_PASSWORD" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: toolchain-steps
      key: {{ . }}
{{- end }}
{{- end }}

{{- define "toolchain.test.pipeline" -}}
- name: KFP
  value: http://ml-pipeline:8888
- name: IMAGE
  value: {{ include "toolchain.image" (dict "root" . "image" "base") }}
- name: PIPELINE
  value: {{ .Files.Get "files/two_steps.json" | fromJson | toJson | quote }}
{{- end }}

{{- define "toolchain.test.prometheus" -}}
- name: PROMETHEUS
  value: {{ include "toolchain.prometheus.url" . }}
- name: ARGO
  value: {{ .Values.argo.enabled | quote }}
{{- end }}

{{- define "toolchain.test.grafana" -}}
- name: GRAFANA
  value: http://toolchain-grafana.{{ .Release.Namespace }}:3000
{{- range $variable, $key := dict "GRAFANA_USERNAME" "username" "GRAFANA_PASSWORD" "password" }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "toolchain.grafana.secret" $ }}
      key: {{ $key }}
{{- end }}
{{- end }}
