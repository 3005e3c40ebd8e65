{{/*
The Secrets that the chart makes: their random keys, those of a fixed value, and the component that they belong to.
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

{{/* "true" when the chart makes a Secret, rather than a person: dict "root" $ "secret" "toolchain-mysql". */}}
{{- define "toolchain.secret.made" -}}
{{- $values := .root.Values -}}
{{- $storage := and (ne $values.storage.kind "external") (not $values.storage.existingSecrets) -}}
{{- $made := dict
      "toolchain-mysql" (and $values.mysql.enabled (not $values.mysql.existingSecret))
      "toolchain-mlflow" (and $values.mlflow.enabled (not $values.mlflow.existingSecret))
      "toolchain-grafana" (and (eq $values.grafana.kind "own") (not $values.grafana.existingSecret))
      "toolchain-steps" (not $values.steps.existingSecret) -}}
{{- ternary "true" "" (get $made .secret | default (and (hasKey (include "toolchain.secrets" . | fromJson) .secret) (not (hasKey $made .secret)) $storage)) -}}
{{- end }}

{{/*
A Secret that is not there yet: dict "root" $ "secret" "toolchain-mysql". Nothing is rendered once it is: whoever changes a password changes it in
the cluster, and no upgrade or rollback brings another one back. So it is a hook, which no revision of the release owns. It is never
deleted: not by an uninstallation (it is no part of the release), nor before it is made (hook-failed in place of helm's default).
*/}}
{{- define "toolchain.secret" -}}
{{- $name := .secret -}}
{{- $about := get (include "toolchain.secrets" . | fromJson) $name -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace $name -}}
{{- if not (include "toolchain.secret.made" .) -}}
{{- else if $found -}}
{{- range concat $about.random (keys ($about.fixed | default dict)) -}}
{{- if not (hasKey ($found.data | default dict) .) -}}
{{- fail (printf "Secret %s has no key %s: add it by kubectl patch secret %s -p '{\"stringData\": {%q: \"...\"}}', or delete the Secret to have all of it made anew" $name . $name .) -}}
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
What a Secret holds, base64 by key, as JSON: as it is in the cluster, or else new, and the same wherever this installation asks for it.
An upgrade that cannot see the cluster (--dry-run=client) would render new passwords: it is refused.
*/}}
{{- define "toolchain.secret.data" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- $about := get (include "toolchain.secrets" . | fromJson) .secret -}}
{{- if $found -}}
{{ $found.data | default dict | toJson }}
{{- else if not (include "toolchain.secret.made" .) -}}
{}
{{- else -}}
{{- if and .root.Release.IsUpgrade (not (lookup "v1" "ConfigMap" .root.Release.Namespace "toolchain-steps")) -}}
{{- fail "this upgrade cannot read the cluster, so it would render new passwords: use --dry-run=server, or name existing Secrets (docs/install.md)" -}}
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
Changes with the keys of Secrets that a pod reads when it starts, so that an upgrade restarts it after a rotation:
dict "root" $ "secrets" (list (list NAME KEY...) ...); a list with a name alone means all of its keys.
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
{{- if or (eq .role "steps") (and (eq .root.Values.storage.kind "external") (not .root.Values.storage.existingSecrets)) -}}
toolchain-steps
{{- else -}}
{{ get $own .role }}
{{- end -}}
{{- end }}
