# The server: standalone, or a broker, controller or group coordinator of a cluster. docs/guides/container.md
ARG NODE_VERSION=26.10.0

# All packages, to install what three of them need.
FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /opt/millrace
COPY package.json package-lock.json ./
COPY packages/ packages/
COPY services/ services/
# The workspace of the root is left out: it brings Node once more, and development tools.
RUN ["npm", "ci", "--omit=dev", "--workspace=@millrace/standalone", "--include-workspace-root=false", "--ignore-scripts", "--no-audit", "--no-fund"]

FROM node:${NODE_VERSION}-bookworm-slim
WORKDIR /opt/millrace
COPY --from=build /opt/millrace/node_modules/ node_modules/
COPY package.json LICENSE ./
COPY packages/config/ packages/config/
COPY packages/env/ packages/env/
COPY packages/errors/ packages/errors/
COPY packages/log/ packages/log/
COPY packages/metadata/ packages/metadata/
COPY packages/observability/ packages/observability/
COPY packages/proto/ packages/proto/
COPY packages/record/ packages/record/
COPY packages/rpc/ packages/rpc/
COPY packages/server/ packages/server/
COPY services/ services/
RUN mkdir -p /var/lib/millrace && chown node:node /var/lib/millrace

# Listeners are on all addresses of the container. Nobody outside of its network reaches those: what
# clients are told is MILLRACE_ADVERTISE. The internal listener stays on loopback unless it is set.
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/tmp/millrace-compile \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_TRIM_THRESHOLD_=67108864 \
    MILLRACE_DATA_DIR=/var/lib/millrace \
    MILLRACE_LISTEN=0.0.0.0:7400 \
    MILLRACE_HEALTH_LISTEN=0.0.0.0:7402 \
    MILLRACE_HTTP_LISTEN=0.0.0.0:7480
USER node
VOLUME /var/lib/millrace
EXPOSE 7400 7402 7480
STOPSIGNAL SIGTERM
# Node is the one program that is surely there.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["node", "-e", "fetch('http://127.0.0.1:7480/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "--initial-old-space-size=96", "--max-semi-space-size=2", "--v8-pool-size=1"]
CMD ["services/standalone/src/main.ts"]
