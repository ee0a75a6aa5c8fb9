{{- define "lvs.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "lvs.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "lvs.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "lvs.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "lvs.agentName" -}}
{{ include "lvs.fullname" . }}-agent
{{- end }}

{{- define "lvs.operatorServiceAccount" -}}
{{ .Values.operator.serviceAccount.name | default (include "lvs.fullname" .) }}
{{- end }}

{{- define "lvs.agentServiceAccount" -}}
{{ .Values.nodeAgent.serviceAccount.name | default (include "lvs.agentName" .) }}
{{- end }}

{{/* The names under which the API server knows the operator and the agents. */}}
{{- define "lvs.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "lvs.operatorServiceAccount" . }}
{{- end }}

{{- define "lvs.agentUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "lvs.agentServiceAccount" . }}
{{- end }}

{{/* What selects pods must never change: list (context, component). */}}
{{- define "lvs.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lvs.name" (index . 0) }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "lvs.labels" -}}
{{ include "lvs.selectorLabels" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "lvs.image" -}}
{{- $image := index . 1 -}}
{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end }}

{{/* What runs at `helm uninstall` before anything is deleted, by weight; what an earlier attempt left is replaced. */}}
{{- define "lvs.uninstallHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
