package journal

import (
	"errors"
	"fmt"
)

// ErrLocked says that another process writes to the journal. Reading beside it is
// allowed.
var ErrLocked = errors.New("another whichpod is writing here")

// CorruptError names the place in a file that does not check. It is returned as a
// value, not as a pointer.
type CorruptError struct {
	Path   string
	Offset int64  // of the first byte that cannot be trusted
	Detail string // what was got and what was expected
}

func (e CorruptError) Error() string {
	return fmt.Sprintf("file %q is damaged at byte %d: %s", e.Path, e.Offset, e.Detail)
}

// Hint says what to do about it.
func (e CorruptError) Hint() string {
	return `"whichpod fsck" names all damage; "whichpod fsck --rebuild SOURCE" builds the index again from its blobs; other files are restored from a copy`
}

// NewerVersionError says that a file has a format that this program does not know.
// It is returned as a value, not as a pointer.
type NewerVersionError struct {
	Path string
	Got  uint16
	Max  uint16 // the newest version that this program reads
}

func (e NewerVersionError) Error() string {
	return fmt.Sprintf("data folder was written by a newer whichpod: file %q has format version %d, this program reads up to %d", e.Path, e.Got, e.Max)
}

// Hint says what to do about it.
func (e NewerVersionError) Hint() string { return "use a newer whichpod with this data folder" }
