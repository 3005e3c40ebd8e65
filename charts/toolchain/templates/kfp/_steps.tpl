{{/*
What KFP's API server lays over every Workflow that it makes of a pipeline, as JSON.
Argo merges templateDefaults under each template, so a task's own number of retries and back-off stand, and the expression decides when.
*/}}
{{- define "toolchain.kfp.workflow" -}}
{{- $days := int .Values.kfp.keepPodsDays -}}
{{- dict
      "podMetadata" (dict "labels" (dict "app.kubernetes.io/part-of" "toolchain"))
      "podSpecPatch" (include "toolchain.kfp.stepPod" . | fromYaml | toJson)
      "ttlStrategy" (dict "secondsAfterCompletion" (mul $days 86400))
      "templateDefaults" (dict "retryStrategy" (dict
        "limit" "4"
        "backoff" (dict "duration" "5s" "factor" "2")
        "expression" (include "toolchain.kfp.retry" .)))
    | toJson -}}
{{- end }}

{{/*
Laid over every pod of a workflow, drivers included. KFP sets what the restricted Pod Security standard asks of containers, but leaves the
user to the image. Argo reads the end of a failed container's log from its status, which tells a step's own errors from others.
*/}}
{{- define "toolchain.kfp.stepPod" -}}
automountServiceAccountToken: true
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
containers:
  - name: main
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext:
      readOnlyRootFilesystem: true
    volumeMounts:
      - name: temporary
        mountPath: /tmp
volumes:
  - name: temporary
    emptyDir: {}
{{- end }}

{{/*
Whether a failed pod is tried again. Yes when it was killed, evicted or deleted; when a service was down (our ServiceError); when KFP's
launcher or driver failed, rather than the step, whose end the launcher reports in a line of its own. No when it ran out of its own
memory or time, and for every other error of the step.
*/}}
{{- define "toolchain.kfp.retry" -}}
{{- $limits := "OOMKilled|specified deadline|DeadlineExceeded" -}}
{{- $again := "signal: (killed|terminated)|exit (status|code) (137|143)|ServiceError" -}}
{{- $own := "failed to execute component: exit status" -}}
{{- $lost := "(?i)pod deleted|evict|preempt|low on resource|shut ?down|shutting down|unreachable|node lost|^(init|wait|kfp-launcher): " -}}
not (lastRetry.message matches '{{ $limits }}') and (lastRetry.message startsWith 'main: ' ? (lastRetry.message matches '{{ $again }}' or not (lastRetry.message contains '{{ $own }}')) : lastRetry.message matches '{{ $lost }}')
{{- end }}
