package cli

import (
	"bytes"
	"log"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
)

// captureLog returns what is written to the standard logger in the test.
func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	var lines bytes.Buffer
	before, flags := log.Writer(), log.Flags()
	log.SetOutput(&lines)
	log.SetFlags(0)
	t.Cleanup(func() {
		log.SetOutput(before)
		log.SetFlags(flags)
	})
	return &lines
}

func TestUnsolicitedLinesAreCounted(t *testing.T) {
	const line = "Unsolicited response received on idle HTTP channel starting with \"x\"; err=<nil>"
	for note, lines := range map[string][]string{
		"": {"other"},
		"loadtest: note: the server sent data after the end of 1 response; -transport http1 counts such responses as failed\n":  {line, "other"},
		"loadtest: note: the server sent data after the end of 2 responses; -transport http1 counts such responses as failed\n": {line, "other", line},
	} {
		logged := captureLog(t)
		var errs bytes.Buffer
		end := (&command{stderr: &errs}).filterLog()
		for _, line := range lines {
			log.Print(line)
		}
		end()
		log.Print("after")
		assert.Equal(t, note, errs.String())
		assert.Equal(t, "other\nafter\n", logged.String())
	}
}

// TestDataAfterResponse uses a server that sends more than Content-Length says.
func TestDataAfterResponse(t *testing.T) {
	logged := captureLog(t)
	url := listen(t, func(c net.Conn) {
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more"))
	})
	for _, transport := range []string{flags.HTTP1, flags.NetHTTP} {
		_, errs, _ := call(t.Context(), "-q", "-n", "20", "-transport", transport, url)
		assert.NotContains(t, logged.String()+errs, "Unsolicited", transport)
	}
}
