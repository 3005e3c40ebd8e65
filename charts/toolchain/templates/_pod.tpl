{{/*
The common part of every pod's spec, for the restricted Pod Security standard: dict "root" $ "component" "mysql", and optionally
"serviceAccount" (default: the namespace's, without a token), "user" (UID and GID, default 10001, as in the project's images).
*/}}
{{- define "toolchain.pod" -}}
serviceAccountName: {{ .serviceAccount | default "default" }}
automountServiceAccountToken: {{ hasKey . "serviceAccount" }}
enableServiceLinks: false
priorityClassName: {{ include "toolchain.priorityClass" .root }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 10001 }}
  runAsGroup: {{ .user | default 10001 }}
  fsGroup: {{ .user | default 10001 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "toolchain.selector" . | nindent 8 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The common part of every container: dict "root" $ "image" "mysql", a key of .Values.images. */}}
{{- define "toolchain.container" -}}
image: {{ include "toolchain.image" . }}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/*
The full reference of an image; fails when it is not set, or has no digest although the values require one: dict "root" $ "image" "mysql".
The tags of the project's images are digests of their content.
*/}}
{{- define "toolchain.image" -}}
{{- $reference := index .root.Values.images .image | required (printf "images.%s is not set: set its full reference, or use `make deploy`, which sets the images of this checkout" .image) -}}
{{- if and .root.Values.requireDigests (not (has .image (list "base" "mlflow"))) (not (regexMatch "@sha256:[0-9a-f]{64}$" $reference)) -}}
{{- fail (printf "images.%s is %s, without a digest, and requireDigests is true: set NAME:TAG@sha256:... (docs/operate/images.md)" .image $reference) -}}
{{- end -}}
{{ $reference }}
{{- end }}

{{/* Cluster-wide, so its name contains the namespace. */}}
{{- define "toolchain.priorityClass" -}}
{{ .Release.Namespace }}-control-plane
{{- end }}
