{{/* config.toml; empty for none. */}}
{{- define "dcfs.settings" -}}
{{- if and .Values.shared.prefix (regexMatch `(?m)^\s*\[\s*shared\b` .Values.config) }}
{{- fail "config has a table [shared]: leave shared.prefix empty" }}
{{- end }}
{{- with .Values.config }}
{{- trimSuffix "\n" . }}
{{ end }}
{{- with .Values.shared.prefix -}}
[shared]
prefix = {{ . | quote }}
objects = {{ $.Values.shared.objects }}
{{- end }}
{{- end }}
