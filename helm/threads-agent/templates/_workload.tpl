{{/*
A Deployment, and its Service when it has a port. Takes
  context    the root context
  component  the name of the part; its label and the end of every object's name
  command    the container's command, a list
  probes     YAML of the three probes
  resources  of the container
and may take
  replicas, recreate (never two at a time), port, dagster (it reads dagster.yaml), launches (it starts runs: gets a
  token), env (YAML of further variables)
*/}}
{{- define "threads-agent.workload" -}}
{{- $name := printf "%s-%s" (include "threads-agent.fullname" .context) .component -}}
{{- $launcher := include "threads-agent.launcherAccount" .context -}}
{{- $account := ternary $launcher (include "threads-agent.fullname" .context) (default false .launches) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels:
    {{- include "threads-agent.labels" .context | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ default 1 .replicas }}
  {{- if .recreate }}
  strategy:
    type: Recreate
  {{- end }}
  selector:
    matchLabels:
      {{- include "threads-agent.selector" .context | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- include "threads-agent.labels" .context | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      {{- if .dagster }}
      annotations:
        checksum/dagster: {{ include "threads-agent.dagsterYaml" .context | sha256sum }}
      {{- end }}
    spec:
      {{- include "threads-agent.podSpec" (dict "context" .context "account" $account "token" (default false .launches)) | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ include "threads-agent.image" .context }}
          imagePullPolicy: {{ .context.Values.image.pullPolicy }}
          command: {{ .command | toJson }}
          env:
            {{- include "threads-agent.env" . | nindent 12 }}
            {{- if .dagster }}
            - name: DAGSTER_HOME
              value: /opt/dagster
            {{- end }}
            {{- with .env }}
            {{- . | nindent 12 }}
            {{- end }}
          {{- with .port }}
          ports:
            - name: main
              containerPort: {{ . }}
          {{- end }}
          {{- .probes | nindent 10 }}
          resources:
            {{- toYaml .resources | nindent 12 }}
          securityContext:
            {{- include "threads-agent.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "threads-agent.volumeMounts" . | nindent 12 }}
      volumes:
        {{- include "threads-agent.volumes" . | nindent 8 }}
{{- with .port }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels:
    {{- include "threads-agent.labels" $.context | nindent 4 }}
    app.kubernetes.io/component: {{ $.component }}
spec:
  type: ClusterIP
  selector:
    {{- include "threads-agent.selector" $.context | nindent 4 }}
    app.kubernetes.io/component: {{ $.component }}
  ports:
    - name: main
      port: {{ . }}
      targetPort: main
{{- end }}
{{- end }}
