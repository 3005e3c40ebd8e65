{{/*
The patch that KFP's API server applies to the Workflow of every run, as JSON.
Argo merges templateDefaults under each template, so a task keeps its own number of retries and back-off, and the expression decides when to retry.
*/}}
{{- define "toolchain.kfp.workflow" -}}
{{- $days := int .Values.kfp.podRetentionDays -}}
{{- dict
      "podMetadata" (dict "labels" (dict "app.kubernetes.io/part-of" "toolchain"))
      "podSpecPatch" (include "toolchain.kfp.stepPod" . | fromYaml | toJson)
      "ttlStrategy" (dict "secondsAfterCompletion" (mul $days 86400))
      "templateDefaults" (dict
        "podSpecPatch" (include "toolchain.kfp.withoutLauncher" . | fromYaml | toJson)
        "retryStrategy" (dict
          "limit" "4"
          "backoff" (dict "duration" "5s" "factor" "2")
          "expression" (include "toolchain.kfp.retry" .)))
    | toJson -}}
{{- end }}

{{/*
The patch of every pod of a workflow, drivers included. KFP sets the container settings of the restricted Pod Security standard, but not the
user. Argo reads the end of a failed container's log from its status, which distinguishes a step's own errors from others.
KFP's launcher, which is copied into the pod first, has a CPU limit above its request; a pod is Guaranteed only if all requests equal the
limits.
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
initContainers:
  - name: kfp-launcher
    resources:
      requests: &launcher {cpu: 200m, memory: 256Mi}
      limits: *launcher
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
Removed from the pods of drivers, which have no launcher: Argo applies a template's patch after the workflow's, and only the templates of
steps have a patch of their own, which replaces this one.
*/}}
{{- define "toolchain.kfp.withoutLauncher" -}}
initContainers:
  - name: kfp-launcher
    $patch: delete
{{- end }}

{{/*
Whether a failed pod is retried. Yes if it was killed, evicted or deleted; if a service was not available (the toolchain's ServiceError); if
KFP's launcher or driver failed rather than the step, whose failure the launcher reports in a separate line. No if the step exceeded its
memory or time, if S3 rejected its keys, if Kubernetes denied it permission (quotas excepted, which become free again), and for every other error
of the step.
*/}}
{{- define "toolchain.kfp.retry" -}}
{{- $denied := "S3 (denied access|rejected the signature|does not know the key)|AccessDenied|Access Denied|SignatureDoesNotMatch|request signature we calculated|InvalidAccessKeyId|Access Key Id you provided" -}}
{{- $limits := "OOMKilled|specified deadline|DeadlineExceeded" -}}
{{- $forbidden := "is forbidden: " -}}
{{- $quota := "exceeded quota" -}}
{{- $again := "signal: (killed|terminated)|exit (status|code) (137|143)|ServiceError" -}}
{{- $own := "failed to execute component: exit status" -}}
{{- $lost := "(?i)pod deleted|evict|preempt|low on resource|shut ?down|shutting down|unreachable|node lost|^(init|wait|kfp-launcher): " -}}
not (lastRetry.message matches '{{ $limits }}|{{ $denied }}') and not (lastRetry.message contains '{{ $forbidden }}' and not (lastRetry.message contains '{{ $quota }}')) and (lastRetry.message startsWith 'main: ' ? (lastRetry.message matches '{{ $again }}' or not (lastRetry.message contains '{{ $own }}')) : lastRetry.message matches '{{ $lost }}')
{{- end }}

{{/*
Additional permissions of the account pipeline-runner in upstream's manifests (manifests/kustomize/base/pipeline/pipeline-runner-role.yaml
of Kubeflow Pipelines 2.17): for pipelines whose own code calls the Kubernetes API. It can read every Secret of the namespace.
*/}}
{{- define "toolchain.kfp.pipelineRunner" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [persistentvolumeclaims, pods, pods/exec, pods/log, services]
  verbs: &all [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [snapshot.storage.k8s.io]
  resources: [volumesnapshots]
  verbs: [get, create, delete]
- apiGroups: [argoproj.io]
  resources: [workflows, workflowtaskresults, workflowtasksets, workflowtasksets/status]
  verbs: [get, list, watch, create, update, patch]
- apiGroups: [apps]
  resources: [deployments, replicasets]
  verbs: *all
- apiGroups: [batch]
  resources: [jobs]
  verbs: *all
- apiGroups: [kubeflow.org]
  resources: [experiments, jaxjobs, mpijobs, notebooks, paddlejobs, pytorchjobs, scheduledworkflows, tfjobs, trials, viewers, xgboostjobs]
  verbs: *all
{{- end }}
