{{/*
Whom the policy of promoters holds for: who has the Role's own right, and could not delete a StatefulSet, as an editor or administrator of the
namespace may. Kubernetes' own controllers are none of them.
*/}}
{{- define "toolchain.promoter.conditions" -}}
- name: promoter
  expression: >-
    authorizer.group('toolchain').resource('modelservers').namespace(request.namespace).check('promote').allowed()
- name: not-an-editor
  expression: >-
    !authorizer.group('apps').resource('statefulsets').namespace(request.namespace).check('delete').allowed()
- name: not-kubernetes
  expression: >-
    !request.userInfo.username.startsWith('system:kube-') && !('system:serviceaccounts:kube-system' in request.userInfo.groups)
{{- end }}
