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
launcher or driver failed rather than the step, whose end the launcher reports as "exit status 1". No when it ran out of its own
memory or time, and for every other error of the step.
*/}}
{{- define "toolchain.kfp.retry" -}}
{{- $lost := "(?i)pod deleted|evict|preempt|low on resource|shutdown|shutting down|unreachable|node lost|signal: (killed|terminated)|exit (status|code) (137|143)|^(init|wait): |ServiceError" -}}
{{- $own := "OOMKilled|specified deadline|DeadlineExceeded" -}}
not (lastRetry.message matches '{{ $own }}') and (lastRetry.message matches '{{ $lost }}' or lastRetry.exitCode in ['137', '143'] or (lastRetry.message matches '^main: ' and not (lastRetry.message matches 'exit status')))
{{- end }}
