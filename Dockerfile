# syntax=docker/dockerfile:1
# The proxy alone: no shell, no package manager, no root. deploy/kubernetes.yaml runs it on a read-only file system.
#   docker build -t portunus . && docker run --rm --read-only -p 8443:8443 -v ./portunus.yaml:/etc/portunus/portunus.yaml:ro portunus

# That of rust-toolchain.toml. Its glibc must not be newer than that of the image below: both are Debian 12.
FROM rust:1.95.0-bookworm AS build
WORKDIR /portunus
COPY . .
# What is kept between two builds is no part of any image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/portunus/target \
    cargo build --locked --release -p portunus && cp target/release/portunus /usr/local/bin/portunus

# glibc, libgcc, the CAs of the web, and the user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/portunus /usr/local/bin/portunus
USER 65532:65532
EXPOSE 8443 9902
# It drains: GOAWAY, then open calls have the time to end.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/portunus"]
CMD ["run", "-c", "/etc/portunus/portunus.yaml"]
