package contract

import "time"

const (
	pageBits = 20 // a page has a bit for each microsecond of about a second
	pages    = 32
)

// stamps is a set of times, to the microsecond, that holds the ones of the last half minute or so before the latest,
// which is as long as an answer may take, in 4 MB whatever their number.
type stamps struct {
	numbers [pages]int64 // of the second that each page is for
	bits    [pages][]uint64
}

func newStamps() *stamps {
	s := new(stamps)
	for i := range s.bits {
		s.bits[i] = make([]uint64, 1<<pageBits/64)
		clear(s.bits[i]) // has the system give the memory now, so that no run takes more later
	}
	return s
}

// add adds t, and tells whether it was there before. It does not know about a time that is too old: that counts as new.
func (s *stamps) add(t time.Time) (twice bool) {
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
	twice = bits[word]&bit != 0
	bits[word] |= bit
	return twice
}
