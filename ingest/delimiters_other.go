//go:build !amd64

package ingest

// delimiters sets in dst a bit for each byte of src, the first one lowest: whether it is a
// comma or a quote. There MUST be 64 bytes for each of dst.
func delimiters(dst []uint64, src []byte) { plainDelimiters(dst, src) }
