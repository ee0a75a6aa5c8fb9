{{- define "lvs.agentDaemonSet" -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "lvs.agentName" . }}
  labels: {{- include "lvs.selectorLabels" (list . "node-agent") | nindent 4 }}
spec:
  selector:
    matchLabels: {{- include "lvs.selectorLabels" (list . "node-agent") | nindent 6 }}
  template:
    metadata:
      labels: {{- include "lvs.selectorLabels" (list . "node-agent") | nindent 8 }}
      annotations:
        kubectl.kubernetes.io/default-container: agent
        {{- with .Values.nodeAgent.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      serviceAccountName: {{ include "lvs.agentServiceAccount" . }}
      dnsPolicy: Default
      terminationGracePeriodSeconds: 15
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeAgent.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with .Values.nodeAgent.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: agent
          image: {{ include "lvs.image" (list . .Values.nodeAgent.image) }}
          imagePullPolicy: {{ .Values.nodeAgent.image.pullPolicy }}
          args:
            - run
            - --node-name=$(NODE_NAME)
            - --namespace={{ .Release.Namespace }}
            - --state-dir={{ .Values.nodeAgent.stateDirectory }}
            - --vrrp-dir={{ .Values.nodeAgent.keepalived.directory }}
            {{- with .Values.nodeAgent.metricsAddress }}
            - --metrics-address={{ . }}
            {{- end }}
            - --health-address=127.0.0.1:{{ .Values.nodeAgent.healthPort }}
            - --word-address={{ with .Values.nodeAgent.wordPort }}:{{ . }}{{ end }}
            {{- if .Values.nodeAgent.showConnections }}
            - --show-connections
            {{- end }}
            {{- range .Values.nodeAgent.refuseRanges }}
            - --refuse-range={{ . }}
            {{- end }}
            - --log-level={{ lower .Values.nodeAgent.logLevel }}
            {{- with .Values.nodeAgent.extraArgs }}{{ toYaml . | nindent 12 }}{{ end }}
          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
            {{- with .Values.nodeAgent.extraEnv }}{{ toYaml . | nindent 12 }}{{ end }}
          startupProbe:
            httpGet: {host: 127.0.0.1, path: /healthz, port: {{ .Values.nodeAgent.healthPort }}}
            periodSeconds: 1
            timeoutSeconds: 2
            failureThreshold: 120
          # Patient: a Node that is short of processor time gets more of it by no restart.
          livenessProbe:
            httpGet: {host: 127.0.0.1, path: /healthz, port: {{ .Values.nodeAgent.healthPort }}}
            periodSeconds: 20
            timeoutSeconds: 15
            failureThreshold: 6
          readinessProbe:
            httpGet: {host: 127.0.0.1, path: /readyz, port: {{ .Values.nodeAgent.healthPort }}}
            periodSeconds: 2
            timeoutSeconds: 5
          resources: {{- toYaml .Values.nodeAgent.resources | nindent 12 }}
          securityContext:
            # IPVS, addresses and sysctls of the Node itself; devices appear later, and drift is repaired.
            privileged: true
            readOnlyRootFilesystem: true
          volumeMounts:
            - name: state
              mountPath: {{ .Values.nodeAgent.stateDirectory }}
            - name: vrrp
              mountPath: {{ .Values.nodeAgent.keepalived.directory }}
        # keepalived, where a group has failover VRRP; it idles elsewhere. A container of its own: the agent's end moves no
        # address and leaves none without adverts.
        - name: vrrp
          image: {{ include "lvs.image" (list . .Values.nodeAgent.image) }}
          imagePullPolicy: {{ .Values.nodeAgent.image.pullPolicy }}
          args:
            - vrrp
            - --node-name=$(NODE_NAME)
            - --vrrp-dir={{ .Values.nodeAgent.keepalived.directory }}
            - --log-level={{ lower .Values.nodeAgent.logLevel }}
          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
          resources: {{- toYaml .Values.nodeAgent.keepalived.resources | nindent 12 }}
          securityContext:
            # Addresses, and raw sockets for adverts and ARP. keepalived raises its own priority where it may.
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
              add: [NET_ADMIN, NET_RAW, SYS_NICE]
            # The type that SELinux gives the privileged agent: another one may not touch what that has written. Where
            # there is no SELinux it counts for nothing.
            seLinuxOptions:
              type: spc_t
          volumeMounts:
            - name: vrrp
              mountPath: {{ .Values.nodeAgent.keepalived.directory }}
            # keepalived makes files for a moment.
            - name: vrrp-tmp
              mountPath: /tmp
      volumes:
        - name: vrrp
          hostPath:
            path: {{ .Values.nodeAgent.keepalived.directory }}
            type: DirectoryOrCreate
        - name: vrrp-tmp
          emptyDir: {medium: Memory, sizeLimit: 16Mi}
        - name: state
          hostPath:
            path: {{ .Values.nodeAgent.stateDirectory }}
            type: DirectoryOrCreate
{{- end }}
