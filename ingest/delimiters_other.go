//go:build !amd64

package ingest

// delimiters sets a bit for each byte of src, the first one lowest: in commas whether it
// is one, and in quotes too. Both MUST have a word for each 64 bytes.
func delimiters(commas, quotes []uint64, src []byte) { plainDelimiters(commas, quotes, src) }
