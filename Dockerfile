# The reference server, examples/server, in an image without a shell, packages or root.
#
#     docker build --tag pointsapp .
#     docker run --rm --publish 127.0.0.1:4000:4000 pointsapp

ARG GO_IMAGE=golang:1.26

FROM ${GO_IMAGE} AS build
# Another module proxy than Go's; flags such as -buildvcs=false in a git worktree.
ARG GOPROXY
ARG GOFLAGS
WORKDIR /src
# Everything, because "server -version" reports the revision, from .git. There is no "go mod download" first: it would
# download all modules in go.mod, ten times what the server compiles.
COPY . .
ENV CGO_ENABLED=0
RUN ["go", "build", "-tags=otlp", "-trimpath", "-ldflags=-s -w", "-o=/server", "./examples/server"]

FROM scratch
LABEL org.opencontainers.image.title="PointsApp" \
	org.opencontainers.image.description="Linearizable reads from a large table while every row is rewritten in bulk" \
	org.opencontainers.image.source="https://github.com/pointsapp/pointsapp" \
	org.opencontainers.image.licenses="MIT"
# For TLS to PostgreSQL.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /server /server
USER 65532:65532
ENV PORT=4000
EXPOSE 4000
# The start period covers filling the table.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5m CMD ["/server", "-healthcheck"]
ENTRYPOINT ["/server"]
