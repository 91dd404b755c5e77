package ingest

// prefetch begins to read the slots of places into the caches, and waits for none. In
// assembly, as the compiler has no way to say so: a loop that reads them waits as soon as
// some are on their way.
func (t *quickAddresses) prefetch(places []int) {
	if len(places) > 0 {
		prefetchSlots(&t.slots[0], &places[0], len(places))
	}
}

//go:noescape
func prefetchSlots(slots *addressSlot, places *int, n int)
