{{/* Parts of network policies. */}}

{{/* One peer by labels. Call with {namespaceLabels, podLabels}. */}}
{{- define "reverie.peer" -}}
namespaceSelector:
  matchLabels:
    {{- toYaml .namespaceLabels | nindent 4 }}
{{- with .podLabels }}
podSelector:
  matchLabels:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{/* An egress rule to address ranges and pods, on TCP ports. Call with {ipBlocks, pods, ports}; nothing if both are empty:
     a rule without peers would mean everybody. */}}
{{- define "reverie.egressTo" -}}
{{- if or .ipBlocks .pods }}
- to:
    {{- range .ipBlocks }}
    - ipBlock:
        {{- toYaml . | nindent 8 }}
    {{- end }}
    {{- range .pods }}
    - {{ include "reverie.peer" . | nindent 6 | trim }}
    {{- end }}
  ports:
    {{- range .ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
{{- end }}
{{- end }}

{{- define "reverie.egressDns" -}}
- to:
    - {{ include "reverie.peer" .Values.networkPolicy.dns | nindent 6 | trim }}
    {{- range .Values.networkPolicy.dns.cidrs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end }}

{{/* The metadata servers from which a pod gets its cloud identity. IRSA and AKS use the internet, port 443. */}}
{{- define "reverie.egressIdentity" -}}
{{- if eq .Values.workloadIdentity.provider "gke" }}
- to:
    - ipBlock: {cidr: 169.254.169.254/32}
    - ipBlock: {cidr: 169.254.169.252/32}
  ports:
    - {protocol: TCP, port: 80}
    - {protocol: TCP, port: 988}
{{- else if eq .Values.workloadIdentity.provider "eks-pod-identity" }}
- to:
    - ipBlock: {cidr: 169.254.170.23/32}
    - ipBlock: {cidr: "fd00:ec2::23/128"}
  ports:
    - {protocol: TCP, port: 80}
{{- end }}
{{- end }}

{{/* To MLflow, wherever it is. */}}
{{- define "reverie.egressMlflow" -}}
{{- if .Values.mlflow.enabled }}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace }}
      podSelector:
        matchLabels:
          {{- include "reverie.selector" (dict "root" . "component" "mlflow") | nindent 10 }}
  ports:
    - {protocol: TCP, port: 5000}
{{- else if .Values.mlflow.external.uri }}
{{- $url := urlParse .Values.mlflow.external.uri }}
{{- $port := default (ternary 443 80 (eq $url.scheme "https")) (regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host)) }}
{{- include "reverie.egressTo" (dict "ipBlocks" .Values.mlflow.external.ipBlocks "pods" list "ports" (list $port)) }}
{{- end }}
{{- end }}

{{/* Head of a policy. Call with (dict "root" $ "name" "…" "namespace" "…" "component" "…"). */}}
{{- define "reverie.networkPolicyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "reverie.fullname" .root }}-{{ .name }}
  namespace: {{ .namespace }}
  labels:
    {{- include "reverie.labels" (dict "root" .root "component" .component) | nindent 4 }}
{{- end }}
