package parquet

// past is what earlier chunks of a column taught: which efforts were in vain.
type past struct {
	distinct pause    // to find few different numbers
	squeeze  [2]pause // to compress dictionary and data
}

// pause leaves an effort out for some chunks after it was in vain. It counts chunks and no
// time, so that the same rows make the same bytes.
type pause struct{ left int }

// pauseChunks is how many chunks an effort is left out for: what it takes to find that
// it pays again hardly shows then.
const pauseChunks = 31

func (p *pause) over() bool {
	if p.left > 0 {
		p.left--
		return false
	}
	return true
}

func (p *pause) begin() { p.left = pauseChunks }
