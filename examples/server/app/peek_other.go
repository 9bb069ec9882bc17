//go:build !unix

package app

import "net"

const canPeek = false

func closed(*net.TCPConn) bool { return false }
