//go:build !linux

package index

import "github.com/whichpod/whichpod/internal/journal/disk"

// beginWriteback does nothing: Sync writes all of it.
func beginWriteback(disk.File, int64, int64) {}
