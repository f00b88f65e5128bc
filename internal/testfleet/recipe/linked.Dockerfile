ARG BASE_IMAGE
ARG BUILDER_IMAGE=@BUILDER@

FROM ${BUILDER_IMAGE} AS builder
COPY agent/ /src/
RUN sh /src/build.sh /src /agent

FROM ${BASE_IMAGE}
COPY --link --from=builder /agent /agent
ENV PATH=/agent/bin:$PATH \
    AGENT_HOME=/agent
LABEL org.opencontainers.image.title="test agent"
USER 10001:10001
ENTRYPOINT ["/agent/bin/agent"]
