{{/* Names, labels and small parts that several templates share. */}}

{{- define "reverie.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* 40 characters leave room for the suffixes of all objects in names of 63. */}}
{{- define "reverie.fullname" -}}
{{- $name := include "reverie.name" . -}}
{{- $release := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $release .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "reverie.jobsNamespace" -}}
{{- default .Release.Namespace .Values.jobs.namespace -}}
{{- end }}

{{/* Which pods are ours: never changed, because selectors cannot be. Call with (dict "root" $ "component" "mlflow"). */}}
{{- define "reverie.selector" -}}
app.kubernetes.io/name: {{ include "reverie.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "reverie.labels" -}}
{{ include "reverie.selector" . }}
app.kubernetes.io/part-of: reverie
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Pods of jobs: Volcano puts this label on each pod of a job, whoever submitted it. */}}
{{- define "reverie.jobPods" -}}
matchExpressions:
  - {key: volcano.sh/job-name, operator: Exists}
{{- end }}

{{- define "reverie.image" -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag }}{{- end -}}
{{- end }}

{{/* What clients are given: host, then whole address. */}}
{{- define "reverie.mlflowHost" -}}
{{ include "reverie.fullname" . }}-mlflow.{{ .Release.Namespace }}.svc
{{- end }}

{{- define "reverie.mlflowUri" -}}
{{- if .Values.mlflow.enabled -}}
http://{{ include "reverie.mlflowHost" . }}:{{ .Values.mlflow.service.port }}
{{- else -}}
{{ .Values.mlflow.external.uri }}
{{- end -}}
{{- end }}

{{/* Host names that MLflow answers to: it compares the whole Host header, so each stands with and without its port. */}}
{{- define "reverie.mlflowHosts" -}}
{{- $name := printf "%s-mlflow" (include "reverie.fullname" .) -}}
{{- $hosts := list "localhost" "127.0.0.1" $name (printf "%s.%s" $name .Release.Namespace) (include "reverie.mlflowHost" .) -}}
{{- $hosts = append $hosts (printf "%s.cluster.local" (include "reverie.mlflowHost" .)) -}}
{{- $all := list -}}
{{- range concat $hosts .Values.mlflow.allowedHosts -}}
{{- $all = concat $all (list . (printf "%s:*" .)) -}}
{{- end -}}
{{- join "," $all -}}
{{- end }}

{{/* Whether MLflow keeps anything on its volume. */}}
{{- define "reverie.mlflowOnVolume" -}}
{{- if or (eq .Values.mlflow.backend.type "sqlite") (not .Values.mlflow.artifacts.destination) -}}true{{- end -}}
{{- end }}

{{/* The annotation that ties a service account to a cloud identity. Call with (dict "root" $ "identity" "…"). */}}
{{- define "reverie.identity" -}}
{{- $keys := dict
  "gke" "iam.gke.io/gcp-service-account"
  "eks-irsa" "eks.amazonaws.com/role-arn"
  "aks" "azure.workload.identity/client-id" -}}
{{- with get $keys .root.Values.workloadIdentity.provider -}}
{{- if $.identity -}}{{ . }}: {{ $.identity | quote }}{{- end -}}
{{- end -}}
{{- end }}

{{/* Both security contexts pass Pod Security `restricted`. */}}
{{- define "reverie.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ .Values.mlflow.runAsUser }}
runAsGroup: {{ .Values.mlflow.runAsUser }}
fsGroup: {{ .Values.mlflow.runAsUser }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "reverie.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "reverie.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Names in a map that are not null, in order. Null takes a default away; `helm upgrade --reuse-values` keeps the null. */}}
{{- define "reverie.names" -}}
{{- $names := list -}}
{{- range $name, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- join " " $names -}}
{{- end }}
