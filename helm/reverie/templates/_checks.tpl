{{/* What a schema cannot say: keys that must agree, and what the cluster must have. Each message names key, value and cure. */}}

{{- define "reverie.check" -}}
{{- include "reverie.checkMlflow" .Values.mlflow -}}
{{- include "reverie.checkIdentity" . -}}
{{- include "reverie.checkCluster" . -}}
{{- if and .Values.jobs.createNamespace (or (not .Values.jobs.namespace) (eq .Values.jobs.namespace .Release.Namespace)) -}}
{{- fail (printf "jobs.createNamespace: the release's own namespace (%s) cannot be made by the release; give jobs.namespace another name, or label it as docs/helm.md says and set jobs.createNamespace=false" .Release.Namespace) -}}
{{- end -}}
{{- if and .Values.quota.enabled (not .Values.quota.hard) -}}
{{- fail "quota.hard: is empty while quota.enabled is true; give a limit, as quota.hard.requests\\.nvidia\\.com/gpu=8, or set quota.enabled=false" -}}
{{- end -}}
{{- range $name, $queue := .Values.queues -}}
{{- if $queue -}}
{{- range $resource, $amount := $queue.guarantee -}}
{{- if not (hasKey (default dict $queue.deserved) $resource) -}}
{{- fail (printf "queues.%s.guarantee: %s has no queues.%s.deserved, and Volcano refuses to guarantee more than is deserved; set deserved to %v or more" $name $resource $name $amount) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $resource, $amount := .Values.limitRange.max -}}
{{- if not (hasKey $.Values.limitRange.default $resource) -}}
{{- fail (printf "limitRange.max: %s has no limitRange.default, so Kubernetes would give every container %v of it; set a default too" $resource $amount) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.policy.requireDigest .Values.mlflow.enabled (not .Values.mlflow.image.digest) -}}
{{- fail (printf "mlflow.image.digest: policy.requireDigest is true and %s:%s has none; give sha256:…" .Values.mlflow.image.repository .Values.mlflow.image.tag) -}}
{{- end -}}
{{- if and .Values.policy.requireDigest .Values.controller.enabled (not .Values.controller.image.digest) -}}
{{- fail (printf "controller.image.digest: policy.requireDigest is true and %s has none; give sha256:…" .Values.controller.image.repository) -}}
{{- end -}}
{{- if and (eq .Values.controller.image.tag "latest") (not .Values.controller.image.digest) -}}
{{- fail "controller.image.tag: latest is another image tomorrow; name a version, or a digest" -}}
{{- end -}}
{{- if and .Values.controller.enabled (not .Values.volcano.enabled) (not (.Capabilities.APIVersions.Has "batch.volcano.sh/v1alpha1")) -}}
{{- fail "controller.enabled: the cluster has no Volcano (batch.volcano.sh/v1alpha1), whose jobs it makes; install it first, as docs/helm.md says" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not (and .Values.metrics.enabled .Values.mlflow.enabled)) -}}
{{- fail "metrics.serviceMonitor.enabled: there is nothing to scrape; it needs metrics.enabled=true and mlflow.enabled=true" -}}
{{- end -}}
{{- end }}

{{- define "reverie.checkMlflow" -}}
{{- if and .enabled .external.uri -}}
{{- fail (printf "mlflow.external.uri: is %s while mlflow.enabled is true; set one of them" .external.uri) -}}
{{- end -}}
{{- if and (eq .image.tag "latest") (not .image.digest) -}}
{{- fail "mlflow.image.tag: latest is another image tomorrow; name a version, or a digest" -}}
{{- end -}}
{{- if and (eq .backend.type "postgresql") (not .backend.secret.name) -}}
{{- fail "mlflow.backend.secret.name: backend.type postgresql needs the name of a secret that holds the database's URI" -}}
{{- end -}}
{{- if and (eq .backend.type "sqlite") .backend.secret.name -}}
{{- fail (printf "mlflow.backend.type: is sqlite, which has no use for the secret %s; set it to postgresql" .backend.secret.name) -}}
{{- end -}}
{{- if and (gt (int .replicas) 1) (eq .backend.type "sqlite") -}}
{{- fail (printf "mlflow.replicas: %d servers cannot share a sqlite file; set mlflow.backend.type=postgresql, or replicas to 1" (int .replicas)) -}}
{{- end -}}
{{- if and (gt (int .replicas) 1) (not .artifacts.destination) -}}
{{- fail (printf "mlflow.replicas: %d servers cannot share artifacts on one volume; set mlflow.artifacts.destination, as s3://bucket/mlflow" (int .replicas)) -}}
{{- end -}}
{{- if and (or .artifacts.s3Endpoint .artifacts.secretName) (not .artifacts.destination) -}}
{{- fail "mlflow.artifacts.destination: is empty while s3Endpoint or secretName is given; name the bucket, as s3://bucket/mlflow" -}}
{{- end -}}
{{- end }}

{{- define "reverie.checkIdentity" -}}
{{- $provider := .Values.workloadIdentity.provider -}}
{{- $forms := dict
  "gke" (list "^[a-z0-9-]+@[a-z0-9.-]+\\.iam\\.gserviceaccount\\.com$" "an e-mail, name@project.iam.gserviceaccount.com")
  "eks-irsa" (list "^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$" "a role, arn:aws:iam::123456789012:role/name")
  "aks" (list "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" "a client id, 00000000-0000-0000-0000-000000000000") -}}
{{- $given := dict "mlflow.identity" .Values.mlflow.identity -}}
{{- range $name, $account := .Values.serviceAccounts -}}
{{- if kindIs "invalid" $account }}{{ continue }}{{ end -}}
{{- $_ := set $given (printf "serviceAccounts.%s.identity" $name) $account.identity -}}
{{- end -}}
{{- range $key, $identity := $given -}}
{{- if and $identity (not (hasKey $forms $provider)) -}}
{{- fail (printf "%s: workloadIdentity.provider %s has no use for %s; set the provider to gke, eks-irsa or aks, or leave it empty" $key $provider $identity) -}}
{{- else if and $identity (not (regexMatch (first (get $forms $provider)) $identity)) -}}
{{- fail (printf "%s: on %s it must be %s; got %s" $key $provider (last (get $forms $provider)) $identity) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Resource types that others install. Without a cluster, `helm template --api-versions` says what is there. */}}
{{- define "reverie.checkCluster" -}}
{{- if and .Values.volcano.enabled (not (.Capabilities.APIVersions.Has "scheduling.volcano.sh/v1beta1")) -}}
{{- fail "volcano.enabled: the cluster has no Volcano (scheduling.volcano.sh/v1beta1); install it first, as docs/helm.md says, or set volcano.enabled=false" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{- fail "metrics.serviceMonitor.enabled: the cluster has no ServiceMonitor (monitoring.coreos.com/v1); install the Prometheus operator first, or set it to false" -}}
{{- end -}}
{{- end }}
