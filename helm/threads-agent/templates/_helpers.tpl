{{/* Names, labels, image, security: what every object of the chart shares. */}}

{{- define "threads-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough that every suffix stays within a DNS label. */}}
{{- define "threads-agent.fullname" -}}
{{- $name := include "threads-agent.name" . }}
{{- $default := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $default .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What a selector may hold: never changes over the life of a release. */}}
{{- define "threads-agent.selector" -}}
app.kubernetes.io/name: {{ include "threads-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "threads-agent.labels" -}}
{{ include "threads-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "threads-agent.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end }}
{{- end }}
{{- end }}

{{/* The account of everything that starts runs, the one with a token; and of everything else. */}}
{{- define "threads-agent.launcherAccount" -}}
{{ include "threads-agent.fullname" . }}-launcher
{{- end }}

{{- define "threads-agent.databaseSecret" -}}
{{- required "database.existingSecret: name the Secret that holds DATABASE_URL; see the chart's README.md" .Values.database.existingSecret }}
{{- end }}

{{/* What of a pod's spec is the same everywhere, runs and hooks included. Takes (context, account, token). */}}
{{- define "threads-agent.podSpec" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false  # THREADS_AGENT_DASH_PORT=tcp://10.0.0.1:8050 is what a link would set: a setting of ours
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .context.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "threads-agent.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Volumes: a place to write, and Dagster's two files for those that read them. Takes (context, dagster). */}}
{{- define "threads-agent.volumes" -}}
- name: tmp
  emptyDir: {}
{{- if .dagster }}
- name: dagster
  configMap:
    name: {{ include "threads-agent.fullname" .context }}-dagster
{{- end }}
{{- end }}

{{- define "threads-agent.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .dagster }}
- name: dagster
  mountPath: /opt/dagster
  readOnly: true
{{- end }}
{{- end }}

{{/* The environment of every container. Takes (context, dagster). */}}
{{- define "threads-agent.env" -}}
{{- $values := .context.Values -}}
{{- $secret := include "threads-agent.databaseSecret" .context -}}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $values.database.urlKey }}
- name: THREADS_AGENT_HOME
  value: /tmp/threads-agent
- name: THREADS_AGENT_LOG_LEVEL
  value: {{ $values.logLevel }}
{{- if .dagster }}
- name: THREADS_AGENT_DAGSTER_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ $secret }}
      key: {{ $values.database.dagsterUrlKey }}
- name: DAGSTER_EVENT_BATCH_SIZE
  value: "100"
- name: DAGSTER_DISABLE_TELEMETRY
  value: "yes"
{{- end }}
{{- end }}
