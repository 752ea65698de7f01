# syntax=docker/dockerfile:1
# A static binary in an image that holds nothing else. Build:
#   docker build --build-arg REVISION="$(git rev-parse --short=12 HEAD)" -t envoy-exporter .
# The version is the one of rust-toolchain.toml.
FROM rust:1.95.0-bookworm AS build
ARG REVISION=unknown
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml build.rs ./
COPY mappings mappings
COPY src src
COPY testdata/demo testdata/demo
# The C library is linked in; the host's own triple is named so that build scripts are left alone.
RUN host="$(rustc -vV | sed -n 's/^host: //p')" \
    && ENVOY_EXPORTER_REVISION="$REVISION" RUSTFLAGS="-C target-feature=+crt-static" \
       cargo build --release --locked --target "$host" \
    && cp "target/$host/release/envoy-exporter" /envoy-exporter \
    && strip /envoy-exporter

FROM scratch
COPY --from=build /envoy-exporter /envoy-exporter
# Certificates for an admin interface behind https.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY mappings /mappings
# One heap for all threads: a third less memory beside a large proxy (docs/performance.md).
ENV MALLOC_ARENA_MAX=1
USER 65532:65532
EXPOSE 9091
ENTRYPOINT ["/envoy-exporter"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/envoy-exporter", "healthcheck"]
LABEL org.opencontainers.image.title="envoy-exporter" \
      org.opencontainers.image.description="Bridge from Envoy's admin statistics to Prometheus" \
      org.opencontainers.image.licenses="Apache-2.0"
