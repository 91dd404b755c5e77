// Package index keeps flow rows on disk, in flow order, and finds them again by time
// and address.
//
// In: batches of rows in any order, each row with the blob it came from, and for each
// blob how far it was read. Out: batches in flow order ([flow.Compare]) across all
// that was ever committed, through a filter that is applied to the cheapest thing
// first: a segment's times and addresses, then a block's, then rows.
//
// On disk, DIR/index holds manifest.journal, which says what counts, and immutable
// segments of packed columns. The bytes are described in docs/format/index.md and
// docs/format/segment.md.
//
// Durable: what [Writer.Commit] returned nil for, rows and positions together or
// neither. A row counts when its blob's position was advanced past it and that was
// committed; one that was appended and not advanced is never seen.
//
// Small segments are merged after a commit ([Writer.Compact] does it thoroughly), and
// whole ones can be dropped by age.
//
// One process writes, under a lock; any number read beside it, each from the
// manifest as it stood when it opened, or when a merge took a file away that it needs. A Store is safe for concurrent use, a Writer
// and a Scanner are each for one goroutine.
package index
