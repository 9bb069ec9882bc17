package contract

import "time"

const (
	pageBits = 20 // a page has one bit for each microsecond of about a second
	pages    = 32
)

// A timestampSet is a set of times with microsecond resolution, in 4 MB. It keeps about the 30 seconds before the
// latest time: the default timeout of a request.
type timestampSet struct {
	numbers [pages]int64 // the second that each page stands for
	bits    [pages][]uint64
}

func newTimestampSet() *timestampSet {
	s := new(timestampSet)
	for i := range s.bits {
		s.bits[i] = make([]uint64, 1<<pageBits/64)
		clear(s.bits[i]) // touches the memory now, so that it does not grow during the run
	}
	return s
}

// add adds t and reports whether the set contained it. A time that is too old to be kept counts as new.
func (s *timestampSet) add(t time.Time) (duplicate bool) {
	micros := t.UnixMicro()
	number := micros >> pageBits
	page := number & (pages - 1)
	if number < s.numbers[page] {
		return false
	}
	bits := s.bits[page]
	if number > s.numbers[page] {
		clear(bits)
		s.numbers[page] = number
	}
	word, bit := micros&(1<<pageBits-1)/64, uint64(1)<<(micros&63)
	duplicate = bits[word]&bit != 0
	bits[word] |= bit
	return duplicate
}
