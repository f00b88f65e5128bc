ARG BASE_IMAGE
ARG BUILDER_IMAGE=@BUILDER@

FROM ${BUILDER_IMAGE} AS builder
COPY agent/ /src/
RUN sh /src/build.sh /src /agent

FROM ${BASE_IMAGE}
RUN adduser -D -u 10001 agent
RUN set -e; mkdir -p /usr/lib/tool /var/lib/tool; i=0; \
    while [ $i -lt 40 ]; do \
      dd if=/bin/busybox of=/usr/lib/tool/part$i bs=65536 skip=$((i % 20)) count=1 2>/dev/null; \
      echo "part$i 1.0" >> /var/lib/tool/installed; \
      i=$((i + 1)); \
    done
COPY --link --from=builder /agent /agent
COPY config/ /etc/agent/
ENV PATH=/agent/bin:$PATH \
    AGENT_HOME=/agent
LABEL org.opencontainers.image.title="test agent"
USER 10001:10001
ENTRYPOINT ["/agent/bin/agent"]
