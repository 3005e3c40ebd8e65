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
      "templateDefaults" (dict
        "podSpecPatch" (include "toolchain.kfp.withoutLauncher" . | fromYaml | toJson)
        "retryStrategy" (dict
          "limit" "4"
          "backoff" (dict "duration" "5s" "factor" "2")
          "expression" (include "toolchain.kfp.retry" .)))
    | toJson -}}
{{- end }}

{{/*
Laid over every pod of a workflow, drivers included. KFP sets what the restricted Pod Security standard asks of containers, but leaves the
user to the image. Argo reads the end of a failed container's log from its status, which tells a step's own errors from others.
KFP lets its launcher, which is copied into the pod first, use more CPU than it asks for; a pod is Guaranteed only if none of its
containers does.
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
Taken back from the pods of drivers, which have no launcher: Argo lays a template's own patch over the pod after the workflow's, and only
steps' templates have one of their own, which stands in place of this.
*/}}
{{- define "toolchain.kfp.withoutLauncher" -}}
initContainers:
  - name: kfp-launcher
    $patch: delete
{{- end }}

{{/*
Whether a failed pod is tried again. Yes when it was killed, evicted or deleted; when a service was down (our ServiceError); when KFP's
launcher or driver failed, rather than the step, whose end the launcher reports in a line of its own. No when it ran out of its own
memory or time, when S3 refused its keys, when Kubernetes forbids what it does (but for a quota, which frees itself), and for every other
error of the step.
*/}}
{{- define "toolchain.kfp.retry" -}}
{{- $denied := "S3 (denied access|refused the signature|does not know the key)|AccessDenied|Access Denied|SignatureDoesNotMatch|request signature we calculated|InvalidAccessKeyId|Access Key Id you provided" -}}
{{- $limits := "OOMKilled|specified deadline|DeadlineExceeded" -}}
{{- $forbidden := "is forbidden: " -}}
{{- $quota := "exceeded quota" -}}
{{- $again := "signal: (killed|terminated)|exit (status|code) (137|143)|ServiceError" -}}
{{- $own := "failed to execute component: exit status" -}}
{{- $lost := "(?i)pod deleted|evict|preempt|low on resource|shut ?down|shutting down|unreachable|node lost|^(init|wait|kfp-launcher): " -}}
not (lastRetry.message matches '{{ $limits }}|{{ $denied }}') and not (lastRetry.message contains '{{ $forbidden }}' and not (lastRetry.message contains '{{ $quota }}')) and (lastRetry.message startsWith 'main: ' ? (lastRetry.message matches '{{ $again }}' or not (lastRetry.message contains '{{ $own }}')) : lastRetry.message matches '{{ $lost }}')
{{- end }}

{{/*
What the account pipeline-runner of upstream's manifests may do beyond that (manifests/kustomize/base/pipeline/pipeline-runner-role.yaml
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
