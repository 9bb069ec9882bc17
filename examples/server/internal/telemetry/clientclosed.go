package telemetry

import (
	"context"
	"time"

	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// statusClientClosed is the recorded status of a request whose client closed the connection before it had the response,
// most often because of a timeout. Nobody receives it; nginx uses the same number in its log.
const statusClientClosed = 499

// recordedStatus returns the status to record for a request that took so long. For a fast one the connection is not
// checked: that would be a system call for each request.
func recordedStatus(ctx context.Context, status int, took time.Duration) int {
	const slow = 100 * time.Millisecond
	switch {
	case ctx.Err() == context.Canceled:
		return statusClientClosed
	case took >= slow && pointshttp.ClientClosed(ctx):
		return statusClientClosed
	default:
		return status
	}
}
