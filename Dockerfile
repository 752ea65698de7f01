# syntax=docker/dockerfile:1
# A static binary in an image that holds nothing else. deploy/image.md tells how to build it, for one platform or for
# several, and what makes two builds the same.
#
# The compiler is the one of rust-toolchain.toml. It always runs on the builder's own platform, and compiles for another
# one where that is asked for: emulated, it would take many times as long.
ARG RUST_IMAGE=rust:1.95.0-bookworm
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH
ARG REVISION=unknown
# The time of files that are made here, in seconds since 1970; BuildKit takes it for those of the image.
ARG SOURCE_DATE_EPOCH=0
WORKDIR /src
COPY Cargo.toml Cargo.lock rust-toolchain.toml build.rs ./
COPY benches benches
COPY mappings mappings
COPY src src
COPY testdata/demo testdata/demo
# The C library is linked in; the triple is named so that build scripts are left alone. Paths of the builder do not get
# into the binary.
RUN <<'BUILD'
set -eu
host="$(rustc -vV | sed -n 's/^host: //p')"
case "${TARGETARCH:-}" in
    "") target="$host" ;;
    amd64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
    *) echo "no build for $TARGETARCH: amd64 and arm64 only" >&2; exit 1 ;;
esac
strip=strip
if [ "$target" != "$host" ]; then
    tools="$(echo "$target" | sed 's/-unknown//')"
    case "$target" in
        x86_64-*) packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;;
        *) packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;;
    esac
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends $packages
    rustup target add "$target"
    variable="$(echo "$target" | tr a-z- A-Z_)"
    export "CARGO_TARGET_${variable}_LINKER=$tools-gcc" "CC_$(echo "$target" | tr - _)=$tools-gcc"
    strip="$tools-strip"
fi
export ENVOY_EXPORTER_REVISION="$REVISION" SOURCE_DATE_EPOCH
export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=. --remap-path-prefix=${CARGO_HOME:-/usr/local/cargo}=cargo"
cargo build --release --locked --bin envoy-exporter --target "$target"
cp "target/$target/release/envoy-exporter" /envoy-exporter
"$strip" /envoy-exporter
touch -d "@$SOURCE_DATE_EPOCH" /envoy-exporter
BUILD

FROM scratch
COPY --from=build /envoy-exporter /envoy-exporter
# Certificates for an admin interface behind https.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY mappings /mappings
# One heap for all threads, given back early: less memory beside a large proxy (docs/performance.md).
ENV MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=131072
USER 65532:65532
EXPOSE 9091
ENTRYPOINT ["/envoy-exporter"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/envoy-exporter", "healthcheck"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="envoy-exporter" \
      org.opencontainers.image.description="Bridge from Envoy's admin statistics to typed, described Prometheus metrics" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
