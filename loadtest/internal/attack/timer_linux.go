package attack

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is an upper bound on how late Go's timers fire in an idle process, whose network poller waits in
// milliseconds.
const timerSlack = 2 * time.Millisecond

// A timer sleeps with a precision of about 60 µs, where Go's timers may be a millisecond late; that would be reported
// as latency of the server. It is a timerfd, which the network poller waits for as it does for a connection.
type timer struct {
	file *os.File // nil: no timerfd available, use Go's timers
}

func newTimer() *timer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &timer{}
	}
	return &timer{file: os.NewFile(uintptr(fd), "timer")}
}

// sleep returns after d, or at most 2*timerSlack after ctx has ended. It is not safe for concurrent use.
func (t *timer) sleep(ctx context.Context, d time.Duration) {
	if t.file == nil {
		sleepContext(ctx, d)
		return
	}
	if d > 2*timerSlack {
		start := time.Now()
		sleepContext(ctx, d-timerSlack)
		d -= time.Since(start)
	}
	if d <= 0 || ctx.Err() != nil {
		return
	}
	if err := t.set(&unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}); err != nil {
		sleepContext(ctx, d)
		return
	}
	var expirations [8]byte
	_, _ = t.file.Read(expirations[:]) // fails only once closed
}

func (t *timer) set(spec *unix.ItimerSpec) (err error) {
	raw, err := t.file.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), 0, spec, nil)
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}

func (t *timer) close() {
	if t.file != nil {
		_ = t.file.Close() // nothing to flush
	}
}
