{{- define "lvs.directorGroupSpec" -}}
nodes: {{- toYaml .Values.directorGroup.nodes | nindent 2 }}
{{- with .Values.directorGroup.interface }}
interface: {{ . }}
{{- end }}
failover: {{ .Values.directorGroup.failover | quote }}
{{- range $field := list "vrrp" "ignoreAnswersFrom" "timeouts" "sysctls" "connectionSync" }}
{{- with index $.Values.directorGroup $field }}
{{ $field }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/*
Without server-side apply (Helm 3, and Helm 4 with what Helm 3 installed) Helm writes nothing of an object that a hook made
when it takes it over in the second revision: what differs from then on would be lost, now and later.
*/}}
{{- define "lvs.refuseLostValues" -}}
{{- if and .Release.IsUpgrade (eq (int .Release.Revision) 2) (.Capabilities.APIVersions.Has "lvs-operator.io/v1alpha1") }}
{{- $name := .Values.directorGroup.name }}
{{- $live := lookup "lvs-operator.io/v1alpha1" "LvsDirectorGroup" "" $name | default dict }}
{{- $metadata := get $live "metadata" | default dict }}
{{- $applied := false }}
{{- range get $metadata "managedFields" | default list }}
{{- if and (eq .operation "Apply") (not .subresource) }}{{ $applied = true }}{{ end }}
{{- end }}
{{- if and (hasKey (get $metadata "annotations" | default dict) "helm.sh/hook") (not $applied) }}
{{- $lost := list }}
{{- range $field, $wanted := include "lvs.directorGroupSpec" . | fromYaml }}
{{- if include "lvs.differs" (list $wanted (get $live.spec $field)) }}{{ $lost = append $lost $field }}{{ end }}
{{- end }}
{{- with $lost }}
{{- fail (printf "directorGroup: LvsDirectorGroup %s has something else in %s, and this upgrade would not write it: in the first one after the installation Helm takes the group over as it is. Upgrade once without changing values of directorGroup, or give the group these values by kubectl edit lvsdirectorgroup %s; then upgrade again" $name (join ", " .) $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Text unless all that is wanted is there: list (wanted, there). */}}
{{- define "lvs.differs" -}}
{{- $wanted := index . 0 }}
{{- $there := index . 1 }}
{{- if and (kindIs "map" $wanted) (kindIs "map" $there) }}
{{- range $key, $value := $wanted }}{{ include "lvs.differs" (list $value (get $there $key)) }}{{ end }}
{{- else if ne (toJson $wanted) (toJson $there) }}differs{{ end }}
{{- end }}
