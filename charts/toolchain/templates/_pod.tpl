{{/*
What every pod's spec holds, under the restricted Pod Security standard: dict "root" $ "component" "mysql", and where they differ
"serviceAccount" (default: none of its own, no token), "user" (UID and GID, default 10001, our images').
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

{{/* What every container holds: dict "root" $ "image" "mysql", a key of .Values.images. */}}
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
An image's full reference, refused when it is not given, or has no digest where the values ask for one: dict "root" $ "image" "mysql". The tags
of ours are digests of what they hold.
*/}}
{{- define "toolchain.image" -}}
{{- $reference := index .root.Values.images .image | required (printf "images.%s is not set: give its full reference, or use `make deploy`, which sets the images of this checkout" .image) -}}
{{- if and .root.Values.requireDigests (not (has .image (list "base" "mlflow"))) (not (regexMatch "@sha256:[0-9a-f]{64}$" $reference)) -}}
{{- fail (printf "images.%s is %s, without a digest, and requireDigests is true: give NAME:TAG@sha256:... (docs/images.md)" .image $reference) -}}
{{- end -}}
{{ $reference }}
{{- end }}

{{/* Cluster-wide, so it carries the namespace. */}}
{{- define "toolchain.priorityClass" -}}
{{ .Release.Namespace }}-control-plane
{{- end }}
