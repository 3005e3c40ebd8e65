{{/*
Conditions for the policy of promoters: users with the Role's marker permission who may not delete a StatefulSet, as editors and administrators
of the namespace may. Kubernetes' controllers are excluded.
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
