//go:build !amd64

package ingest

// delimiters sets a bit for each byte of src, the first one lowest: in commas whether it
// is one, and in quotes too. Both have the same length, eight bytes for each 64 of src.
func delimiters(commas, quotes, src []byte) { plainDelimiters(commas, quotes, src) }
