# The reference server, examples/server, in an image that holds nothing else: no shell, no package, no root.
#
#     docker build --tag pointsapp .
#     docker run --rm --publish 127.0.0.1:4000:4000 pointsapp

ARG GO_IMAGE=golang:1.26

FROM ${GO_IMAGE} AS build
# Where modules come from, if not from Go's own proxy; and flags, such as -buildvcs=false in a git worktree.
ARG GOPROXY
ARG GOFLAGS
WORKDIR /src
# All of it: "server -version" tells the revision that .git has. "go mod download" before would get every module that
# go.mod names, ten times what the server compiles.
COPY . .
ENV CGO_ENABLED=0
RUN ["go", "build", "-tags=otlp", "-trimpath", "-ldflags=-s -w", "-o=/server", "./examples/server"]

FROM scratch
LABEL org.opencontainers.image.title="PointsApp" \
	org.opencontainers.image.description="One ordered, consistent stream of answers over a table that is refreshed in bulk" \
	org.opencontainers.image.source="https://github.com/pointsapp/pointsapp" \
	org.opencontainers.image.licenses="MIT"
# For TLS to PostgreSQL.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /server /server
USER 65532:65532
ENV ADDR=0.0.0.0:4000
EXPOSE 4000
# While it fills its table it is starting, for 5 minutes at most.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5m CMD ["/server", "-healthcheck"]
ENTRYPOINT ["/server"]
