package pgstore

import "time"

// TolerateBusyMachine makes an update outlast a minute in which the machine leaves no time to the process or to
// PostgreSQL, so that the update does not lose its lease.
func TolerateBusyMachine(s *Store) { s.leaseTimeout = time.Minute }
