{{/*
The Secrets that the chart creates: their random keys, their keys with a fixed value, and their component.
*/}}
{{- define "toolchain.secrets" -}}
{{- $s3 := list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" -}}
{{- $mlflow := append $s3 "MLFLOW_TRACKING_PASSWORD" -}}
{{- dict
      "toolchain-mysql" (dict "component" "mysql" "random" (list "root-password" "kfp-password" "ml-metadata-password" "mlflow-password"))
      "toolchain-mlflow" (dict "component" "mlflow" "random" (list "password" "flask-secret-key") "fixed" (dict "username" "admin"))
      "toolchain-grafana" (dict "component" "grafana" "random" (list "password" "secret-key") "fixed" (dict "username" "admin"))
      "toolchain-steps" (dict "component" "steps" "random" $mlflow "fixed" (dict "MLFLOW_TRACKING_USERNAME" "steps"))
      "toolchain-promoter" (dict "component" "promoter" "random" $mlflow "fixed" (dict "MLFLOW_TRACKING_USERNAME" "promoter"))
      "toolchain-storage" (dict "component" "storage" "random" $s3)
      "toolchain-storage-mlflow" (dict "component" "storage" "random" $s3)
      "toolchain-storage-backup" (dict "component" "storage" "random" $s3)
      "toolchain-serving" (dict "component" "model-server" "random" $s3)
    | toJson -}}
{{- end }}

{{/* "true" when the chart creates a Secret: dict "root" $ "secret" "toolchain-mysql". */}}
{{- define "toolchain.secret.created" -}}
{{- $values := .root.Values -}}
{{- $storage := and (ne $values.storage.type "external") (not $values.storage.existingSecrets) -}}
{{- $made := dict
      "toolchain-mysql" (and $values.mysql.enabled (not $values.mysql.existingSecret))
      "toolchain-mlflow" (and $values.mlflow.enabled (not $values.mlflow.existingSecret))
      "toolchain-grafana" (and (eq $values.grafana.type "bundled") (not $values.grafana.existingSecret))
      "toolchain-steps" (not $values.steps.existingSecret) -}}
{{- ternary "true" "" (get $made .secret | default (and (hasKey (include "toolchain.secrets" . | fromJson) .secret) (not (hasKey $made .secret)) $storage)) -}}
{{- end }}

{{/*
A Secret that does not exist yet: dict "root" $ "secret" "toolchain-mysql". Nothing is rendered once it exists: passwords are changed in the
cluster, and no upgrade or rollback restores an old one. So it is a hook, which no revision of the release owns. It is never deleted:
neither by an uninstallation (it is not part of the release) nor before its creation (hook-failed instead of helm's default).
*/}}
{{- define "toolchain.secret" -}}
{{- $name := .secret -}}
{{- $about := get (include "toolchain.secrets" . | fromJson) $name -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace $name -}}
{{- if not (include "toolchain.secret.created" .) -}}
{{- else if $found -}}
{{- range concat $about.random (keys ($about.fixed | default dict)) -}}
{{- if not (hasKey ($found.data | default dict) .) -}}
{{- fail (printf "Secret %s has no key %s: add it with kubectl patch secret %s -p '{\"stringData\": {%q: \"...\"}}', or delete the Secret so that the chart creates all of it again" $name . $name .) -}}
{{- end -}}
{{- end -}}
{{- else -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ $name }}
  labels:
    {{- include "toolchain.labels" (dict "root" .root "component" $about.component) | nindent 4 }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: hook-failed
    helm.sh/resource-policy: keep
type: Opaque
data:
  {{- range $key, $value := include "toolchain.secret.data" . | fromJson }}
  {{ $key }}: {{ $value }}
  {{- end }}
{{- end -}}
{{- end }}

{{/*
The data of a Secret, base64 by key, as JSON: from the cluster if it exists, else new and equal within one installation.
An upgrade without access to the cluster (--dry-run=client) would render new passwords, so it fails.
*/}}
{{- define "toolchain.secret.data" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $about := get (include "toolchain.secrets" . | fromJson) .secret -}}
{{- if $found -}}
{{ $found.data | default dict | toJson }}
{{- else if not (include "toolchain.secret.created" .) -}}
{}
{{- else -}}
{{- if and .root.Release.IsUpgrade (not (lookup "v1" "ConfigMap" .root.Release.Namespace "toolchain-steps")) -}}
{{- fail "this upgrade cannot read the cluster, so it would render new passwords: use --dry-run=server, or set existing Secrets (docs/operate/install.md)" -}}
{{- end -}}
{{- $made := get .root.Values "madeSecrets" | default dict -}}
{{- if not (hasKey $made .secret) -}}
{{- $data := dict -}}
{{- range $about.random -}}
{{- $_ := set $data . (randAlphaNum 32 | b64enc) -}}
{{- end -}}
{{- range $key, $value := $about.fixed | default dict -}}
{{- $_ := set $data $key ($value | b64enc) -}}
{{- end -}}
{{- $_ := set $made .secret $data -}}
{{- $_ := set .root.Values "madeSecrets" $made -}}
{{- end -}}
{{ get $made .secret | toJson }}
{{- end -}}
{{- end }}

{{/*
A checksum of the Secrets' keys that a pod reads at start, so that an upgrade restarts it after a rotation:
dict "root" $ "secrets" (list (list NAME KEY...) ...); a list with only a name means all keys.
*/}}
{{- define "toolchain.secret.checksum" -}}
{{- $root := .root -}}
{{- $read := list -}}
{{- range .secrets -}}
{{- $data := include "toolchain.secret.data" (dict "root" $root "secret" (first .)) | fromJson -}}
{{- range rest . | default (keys $data | sortAlpha) -}}
{{- $read = append $read (list . (get $data .)) -}}
{{- end -}}
{{- end -}}
{{ $read | toJson | sha256sum | trunc 16 }}
{{- end }}

{{/* The Secret with the S3 keys of a role: dict "root" $ "role" "mlflow". */}}
{{- define "toolchain.storage.secret" -}}
{{- $own := dict "root" "toolchain-storage" "mlflow" "toolchain-storage-mlflow" "backup" "toolchain-storage-backup" "serving" "toolchain-serving" "promoter" "toolchain-promoter" -}}
{{- if or (eq .role "steps") (and (eq .root.Values.storage.type "external") (not .root.Values.storage.existingSecrets)) -}}
toolchain-steps
{{- else -}}
{{ get $own .role }}
{{- end -}}
{{- end }}
