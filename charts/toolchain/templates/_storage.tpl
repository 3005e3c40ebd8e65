{{/*
The volume claim of a StatefulSet, which outlives it: dict "root" $ "part" "mysql", a key of the values, "name" the StatefulSet's.
It is immutable in Kubernetes: the error here says what to do instead.
*/}}
{{- define "toolchain.claim" -}}
{{- $values := (index .root.Values .part).persistence -}}
{{- $found := lookup "apps/v1" "StatefulSet" .root.Release.Namespace .name -}}
{{- if $found -}}
{{- $claim := (index $found.spec.volumeClaimTemplates 0).spec -}}
{{- $size := $claim.resources.requests.storage -}}
{{- $class := $claim.storageClassName | default "" -}}
{{- if ne (include "toolchain.bytes" $size) (include "toolchain.bytes" $values.size) -}}
{{- fail (printf "%s.persistence.size is %v, and %s was installed with %s, which cannot change: restore the value, and enlarge the claim data-%s-0 (docs/operate/upgrade-and-restore.md)" .part $values.size .name $size .name) -}}
{{- end -}}
{{- if ne $class (toString $values.storageClass) -}}
{{- fail (printf "%s.persistence.storageClass is %q, and %s was installed with %q, which cannot change: restore the value (docs/operate/upgrade-and-restore.md)" .part $values.storageClass .name $class) -}}
{{- end -}}
{{- end -}}
volumeClaimTemplates:
  - metadata:
      name: data
    spec:
      accessModes: [ReadWriteOnce]
      {{- with $values.storageClass }}
      storageClassName: {{ . }}
      {{- end }}
      resources:
        requests:
          storage: {{ $values.size }}
{{- end }}

{{/* The S3 keys of a role: dict "root" $ "role" "mlflow", by default "steps". */}}
{{- define "toolchain.storage.keys" -}}
{{- $secret := include "toolchain.storage.secret" (dict "root" .root "role" (.role | default "steps")) -}}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ . }}
{{- end }}
{{- end }}

{{/* The S3 keys of every role, as toolchain.services.storage.users reads them. */}}
{{- define "toolchain.storage.roles" -}}
{{- $root := . -}}
{{- range $role := list "steps" "mlflow" "backup" "serving" "promoter" }}
{{- range list "ACCESS_KEY_ID" "SECRET_ACCESS_KEY" }}
- name: {{ upper $role }}_{{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ include "toolchain.storage.secret" (dict "root" $root "role" $role) }}
      key: AWS_{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The environment of boto3 (endpoint, region, a role's keys) and the bucket's name: dict "root" $ "role" "mlflow". */}}
{{- define "toolchain.storage.environment" -}}
{{- include "toolchain.storage.keys" . | trim }}
{{- range list "AWS_ENDPOINT_URL" "AWS_DEFAULT_REGION" "TOOLCHAIN_BUCKET" }}
- name: {{ . }}
  valueFrom:
    configMapKeyRef:
      name: toolchain-steps
      key: {{ . }}
{{- end }}
{{- end }}

{{/* The probes of an S3 server: dict "live" PATH "ready" PATH. */}}
{{- define "toolchain.storage.probes" -}}
ports:
  - name: s3
    containerPort: 9000
startupProbe:
  httpGet:
    path: {{ .ready }}
    port: s3
  periodSeconds: 2
  failureThreshold: 150
readinessProbe:
  httpGet:
    path: {{ .ready }}
    port: s3
  timeoutSeconds: 5
livenessProbe:
  httpGet:
    path: {{ .live }}
    port: s3
  timeoutSeconds: 10
  periodSeconds: 20
  failureThreshold: 6
{{- end }}

{{/* The S3 endpoint's URL. */}}
{{- define "toolchain.storage.endpoint" -}}
{{- if eq .Values.storage.type "external" -}}
{{ .Values.storage.external.endpoint | required "storage.external.endpoint is not set: storage.type is external, so give the URL of the S3 server" }}
{{- else -}}
http://toolchain-storage.{{ .Release.Namespace }}:9000
{{- end -}}
{{- end }}

{{/* The port of the S3 endpoint's URL. */}}
{{- define "toolchain.storage.port" -}}
{{- $url := include "toolchain.storage.endpoint" . | urlParse -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end }}
