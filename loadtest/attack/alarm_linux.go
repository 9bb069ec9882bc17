package attack

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sleepError is how much later than asked for a timer of Go's may fire: its network poller, in which an idle program
// waits, counts in milliseconds.
const sleepError = 2 * time.Millisecond

// An alarm waits to within some 50 µs, where Go's timers are up to a millisecond late. That would count as the server's
// latency. It is a timer of the kernel's that the network poller waits for as for a connection.
type alarm struct {
	timer *os.File // nil: there is none, and Go's have to do
}

func newAlarm() *alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return &alarm{}
	}
	return &alarm{timer: os.NewFile(uintptr(fd), "timer")}
}

// wait returns after d. One goroutine may wait at a time.
func (a *alarm) wait(d time.Duration) {
	if a.timer == nil {
		<-time.After(d)
		return
	}
	if d > 2*sleepError {
		start := time.Now()
		<-time.After(d - sleepError)
		d -= time.Since(start)
	}
	if d <= 0 {
		return
	}
	once := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if err := a.set(&once); err != nil {
		<-time.After(d)
		return
	}
	var expirations [8]byte
	_, _ = a.timer.Read(expirations[:]) // it can only fail once closed
}

func (a *alarm) set(once *unix.ItimerSpec) (err error) {
	raw, err := a.timer.SyscallConn()
	if err != nil {
		return err
	}
	controlled := raw.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), 0, once, nil)
	})
	if controlled != nil {
		return controlled
	}
	return err
}

func (a *alarm) close() {
	if a.timer != nil {
		_ = a.timer.Close() // it holds nothing
	}
}
