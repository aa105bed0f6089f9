{{/* Labels of every object. */}}
{{- define "axle.labels" -}}
app.kubernetes.io/name: axle
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What selects the operator's pods; it must never change. */}}
{{- define "axle.selector" -}}
app.kubernetes.io/name: axle
app.kubernetes.io/component: operator
{{- end }}

{{- define "axle.operatorImage" -}}
{{ .Values.operator.image | default (printf "ghcr.io/axlemesh/axle-operator:%s" .Chart.AppVersion) }}
{{- end }}

{{- define "axle.sidecarImage" -}}
{{ .Values.sidecar.image | default (printf "ghcr.io/axlemesh/axle-sidecar:%s" .Chart.AppVersion) }}
{{- end }}

{{/* The image without its tag and digest; a port is no tag. */}}
{{- define "axle.sidecarRepository" -}}
{{ regexReplaceAll ":[^:/]+$" (include "axle.sidecarImage" . | splitList "@" | first) "" }}
{{- end }}

{{/* The name of the first SidecarVersion: v0.1.0 becomes v0-1-0. */}}
{{- define "axle.sidecarVersion" -}}
{{ .Values.sidecar.version | default (.Chart.AppVersion | lower | replace "." "-") }}
{{- end }}

{{/* The repositories that sidecars may come from, spaces between. */}}
{{- define "axle.repositoryList" -}}
{{ prepend .Values.sidecar.allowedRepositories (include "axle.sidecarRepository" .) | uniq | join " " }}
{{- end }}

{{/* The same as CEL strings. */}}
{{- define "axle.repositories" -}}
"{{ include "axle.repositoryList" . | replace " " "\", \"" }}"
{{- end }}
