// Package cputime measures how much CPU time this process has used, and how long its threads have waited for a CPU.
//
//	before := cputime.Now()
//	// run the load
//	share := cputime.Now().ShareSince(before, elapsed, runtime.GOMAXPROCS(0))
package cputime

import (
	"fmt"
	"time"
)

// A Usage is the CPU time of this process since its start. It is 0 where it cannot be measured.
type Usage struct {
	// Used is the time on a CPU. Waited is the time for which threads were runnable but had no CPU, because other
	// processes used them; it is measured on Linux only.
	Used, Waited time.Duration
}

// A Share is a Usage as a share of the time of a number of CPUs. Used is from 0 to about 1. Waited may be more than 1,
// because all threads that wait count.
type Share struct {
	Used   float64 `json:"used"`
	Waited float64 `json:"waited"`
}

// ShareSince returns the share of the time of cpus CPUs that the process used and waited for, since before and within
// elapsed.
func (u Usage) ShareSince(before Usage, elapsed time.Duration, cpus int) Share {
	if elapsed <= 0 || cpus <= 0 {
		return Share{}
	}
	available := elapsed.Seconds() * float64(cpus)
	waited := max(u.Waited-before.Waited, 0) // a thread that ends takes its time with it
	return Share{Used: (u.Used - before.Used).Seconds() / available, Waited: waited.Seconds() / available}
}

// Saturated reports whether the process had no CPU time left for more work: it used 90%, or it used a substantial part
// and waited for the rest of that.
func (s Share) Saturated() bool {
	const saturated, substantial = 0.9, 0.2 // an idle process on a busy machine waits, too
	return s.Used >= substantial && s.Used+s.Waited >= saturated
}

// String describes the share. The time for which the process needed a CPU is what it used and waited for, at most all
// the time of its CPUs.
func (s Share) String() string {
	const mostly, noticeable = 0.9, 0.01
	needed := s.Used + min(s.Waited, 1-min(s.Used, 1))
	if s.Used >= mostly || needed-s.Used < noticeable {
		return fmt.Sprintf("it used %.0f%% of its CPU time", 100*s.Used)
	}
	return fmt.Sprintf("it had a CPU for only %.0f%% of the time it needed one: "+
		"stop other programs here, or use another machine", 100*s.Used/needed)
}
