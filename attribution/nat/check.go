package nat

import (
	"errors"

	"github.com/whichpod/whichpod/internal/journal"
)

// Check reads every block of every segment that counts, and returns all damage: what
// was found when the store was opened, and what a question would meet.
func (s *Store) Check() ([]journal.CorruptError, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	damage := append([]journal.CorruptError(nil), s.damage...)
	for _, c := range s.clusters {
		for _, seg := range c.segments {
			for i := range seg.blocks {
				_, err := seg.block(i)
				var corrupt journal.CorruptError
				switch {
				case errors.As(err, &corrupt):
					damage = append(damage, corrupt)
				case err != nil:
					return damage, err
				}
			}
		}
	}
	return damage, nil
}
