{{/* The beginning of a policy that fails closed, after its binding: list (context, suffix of the name). */}}
{{- define "lvs.admissionPolicy" -}}
{{- $context := index . 0 -}}
{{- $name := printf "%s-%s" (include "lvs.fullname" $context) (index . 1) -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}
  labels: {{- include "lvs.labels" (list $context "admission-policies") | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: [Deny]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ $name }}
  labels: {{- include "lvs.labels" (list $context "admission-policies") | nindent 4 }}
spec:
  failurePolicy: Fail
{{- end }}

{{/* CEL: the Node that the token of a request is bound to; empty for any other credentials. */}}
{{- define "lvs.celNodeOfToken" -}}
request.userInfo.?extra[?"authentication.kubernetes.io/node-name"][?0].orValue("")
{{- end }}

{{/* CEL: an update leaves some parts of the metadata as they are: list of their names. */}}
{{- define "lvs.celSameMetadata" -}}
{{- range $index, $part := . }}{{ if $index }} && {{ end }}object.metadata.?{{ $part }} == oldObject.metadata.?{{ $part }}{{ end }}
{{- end }}
