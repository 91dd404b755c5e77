//go:build !amd64

package ingest

// prefetch is for processors that are told beforehand what will be read.
func (t *quickAddresses) prefetch([]int) {}
