{{/*
A Secret's value in base64, the one that is there or else a new one: dict "root" $ "secret" "toolchain-mysql" "key" "root-password".
An upgrade that cannot see the cluster (--dry-run=client) would render new passwords: it is refused.
*/}}
{{- define "toolchain.kept" -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret | default dict -}}
{{- $value := index ($found.data | default dict) .key -}}
{{- if and (not $value) .root.Release.IsUpgrade (not (lookup "v1" "ConfigMap" .root.Release.Namespace "toolchain-steps")) -}}
{{- fail "this upgrade cannot read the cluster, so it would render new passwords: use --dry-run=server, or name existing Secrets (docs/install.md)" -}}
{{- end -}}
{{- $value | default (randAlphaNum 32 | b64enc) -}}
{{- end }}
