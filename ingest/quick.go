package ingest

import (
	"bytes"

	"github.com/whichpod/whichpod/flow"
)

const (
	// headBytes bounds what is looked at for the head of a record: the keys before
	// the tuples, of 700 bytes in the samples.
	headBytes = 4096

	// quickTries is how many records in a row may turn out not to be of the usual
	// form before the rest of the blob is read the tolerant way only.
	quickTries = 4
)

// quickReader takes records of VNet flow logs that are written as Azure writes them:
// no space, the keys of the head before flowRecords, aclID before flowGroups and rule
// before flowTuples, no escapes, and nothing wrong with any tuple. It checks and takes
// each byte once. What it does not take it leaves untouched, for the tolerant way
// ([framer.record], [record.parse], [Decoder.take]) to read: the rows of a record that
// it takes are those that the tolerant way finds, and there are no rejections. Only of a
// record with more rows than a batch some may be taken, once the tolerant way has checked
// all of it; that goes on behind them.
type quickReader struct {
	data    []byte // from the record on, to the end of the buffer
	end     int    // of the record
	at      int64  // of the record in the blob
	checked bool   // the tolerant way accepts the record: rows may be emitted
	done    int    // behind the last tuple that was taken
	groups  int    // of the record

	tuples quickTuples
	taken  int  // records
	misses int  // records in a row that were not taken
	off    bool // all records are read the tolerant way
}

// quick takes the record at the framer's position if it is of the usual form. The
// error is one of emit.
func (d *Decoder) quick() (bool, error) {
	q := &d.fast
	if q.off || q.misses >= quickTries || d.frames.cut >= 0 {
		return false, nil
	}
	if !d.frames.looksUsual() {
		q.misses++
		return false, nil
	}
	data, end := d.frames.candidate()
	if end == 0 {
		q.misses = quickTries // to look for it again costs too much
		return false, nil
	}
	q.data, q.end, q.at, q.checked, q.done, q.groups = data, end, d.frames.pos, false, 0, 0
	if err := d.makeRoom(end); err != nil {
		return false, err
	}
	from := d.rows.Len()
	ok, err := d.quickRecord()
	switch {
	case err != nil:
		return false, err
	case ok:
		q.misses, q.taken = 0, q.taken+1
		d.frames.took(q.at, q.at+int64(end))
		return true, nil
	case q.checked: // and some of it is emitted
		q.misses++
		return true, d.take(d.frames.took(q.at, q.at+int64(end)), q.at, q.done)
	}
	q.misses++
	d.rows.Truncate(from)
	return false, nil
}

// makeRoom emits what there is where it fills half of a batch and a record of so many
// bytes is likely not to fit into the rest: so few records have to be checked before
// their end.
func (d *Decoder) makeRoom(bytes int) error {
	const tuple = 64 // bytes; few are shorter
	if n := d.rows.Len(); n < flow.MaxBatchRows/2 || n+bytes/tuple <= flow.MaxBatchRows {
		return nil
	}
	return d.flush()
}

// looksUsual says whether the tuples of the record at pos begin where they usually do.
func (f *framer) looksUsual() bool {
	b := f.win.from(f.pos)
	if len(b) < headBytes {
		b, _ = f.lookahead(headBytes) // an error comes again
	}
	return bytes.Contains(b[:min(len(b), headBytes)], []byte(quickFlows))
}

// candidate returns the bytes from a record's opening brace on and how many of them
// the record has, if it ends with [recordTail]; else 0. An error of the reader is
// left for who reads on.
func (f *framer) candidate() ([]byte, int) {
	start := f.pos
	for searched := 0; ; {
		b := f.win.from(start)
		if i := bytes.Index(b[searched:], []byte(recordTail)); i >= 0 {
			end := searched + i + len(recordTail)
			if end > MaxRecordBytes {
				return nil, 0
			}
			f.scanned += int64(end)
			return b, end
		}
		if len(b) > MaxRecordBytes {
			return nil, 0
		}
		searched = max(0, len(b)-len(recordTail)+1)
		if ok, err := f.win.fill(start); err != nil || !ok {
			return nil, 0
		}
	}
}

const quickFlows = `"flowRecords":{"flows":[`

// quickRecord appends the rows of the record, and says whether it is of the usual
// form. Where it is not, some rows may have been appended; emitted only if it is checked.
func (d *Decoder) quickRecord() (bool, error) {
	q := &d.fast
	i, ok := d.quickHead()
	if !ok {
		return false, nil
	}
	for { // entries of flows
		acl, n, ok := q.after(i, `{"aclID":"`, `,"flowGroups":[`)
		if !ok {
			return false, nil
		}
		i = n
		g := flow.Group{NIC: d.record.nic, ACL: d.tuples.name(acl), Blob: d.blob, RecordTime: d.record.time}
		for { // entries of flowGroups
			rule, n, ok := q.after(i, `{"rule":"`, `,"flowTuples":[`)
			if q.groups++; !ok || q.groups > maxGroups {
				return false, nil
			}
			g.Rule = d.tuples.name(rule)
			d.rows.SetGroup(g)
			var err error
			if i, ok, err = d.quickGroup(n); err != nil || !ok {
				return false, err
			}
			if i, ok = q.literal(i, "}"); !ok {
				return false, nil
			}
			if !q.comes(i, ',') {
				break
			}
			i++
		}
		if i, ok = q.literal(i, "]}"); !ok {
			return false, nil
		}
		if !q.comes(i, ',') {
			break
		}
		i++
	}
	i, ok = q.literal(i, "]}}")
	return ok && i == q.end, nil
}

// quickHead reads the members before flowRecords, which may be in any order, and
// returns where the first entry of flows begins.
func (d *Decoder) quickHead() (int, bool) {
	r := &d.record
	*r = record{groups: r.groups[:0]}
	c := cursor{b: d.fast.data[:d.fast.end]}
	for i := 1; ; {
		if n, ok := d.fast.literal(i, quickFlows); ok {
			return n, r.vnetHead(&c, d.pathNIC)
		}
		key, n, ok := d.fast.text(i)
		if !ok {
			return 0, false
		}
		if n, ok = d.fast.literal(n, ":"); !ok {
			return 0, false
		}
		into := r.headKey(key)
		from := n
		switch {
		case into == nil || !into.absent():
			return 0, false // unknown, or there twice
		case into == &r.version:
			n += digits(c.b[n:min(n+2, len(c.b))])
		default:
			_, n, ok = d.fast.text(n)
		}
		*into = span{int32(from), int32(n)}
		if !ok {
			return 0, false
		}
		if i, ok = d.fast.literal(n, ","); !ok {
			return 0, false
		}
	}
}

// headKey returns where the value of a key belongs, or nil for a key that records of
// VNet flow logs do not have. Those of which nothing is used have a place too: so a
// key that comes twice is noticed.
func (r *record) headKey(key []byte) *span {
	switch string(key) {
	case "time":
		return &r.stamp
	case "flowLogVersion":
		return &r.version
	case "macAddress":
		return &r.mac
	case "category":
		return &r.category
	case "flowLogGUID":
		return &r.unused[0]
	case "flowLogResourceID":
		return &r.unused[1]
	case "targetResourceID":
		return &r.unused[2]
	case "operationName":
		return &r.unused[3]
	}
	return nil
}

// vnetHead says whether the spans are the head of a record of a VNet flow log.
func (r *record) vnetHead(c *cursor, pathNIC string) bool {
	return string(c.unquote(r.category)) == vnetCategory && r.vnet(c, pathNIC) == nil
}

// comes says what the next byte is.
func (q *quickReader) comes(i int, c byte) bool { return i < q.end && q.data[i] == c }

// literal takes a text that has to come.
func (q *quickReader) literal(i int, want string) (int, bool) {
	n := i + len(want)
	return n, n <= q.end && string(q.data[i:n]) == want
}

// text takes a string without escapes, with its quotes.
func (q *quickReader) text(i int) ([]byte, int, bool) {
	if i >= q.end || q.data[i] != '"' {
		return nil, 0, false
	}
	i++
	n := i + plain(q.data[i:min(i+maxText, q.end)])
	if n == q.end || q.data[n] != '"' || n-i > maxText-2 {
		return nil, 0, false
	}
	return q.data[i:n], n + 1, true
}

// after takes a string between two literals, of which the first ends with its quote.
func (q *quickReader) after(i int, before, behind string) ([]byte, int, bool) {
	i, ok := q.literal(i, before)
	if !ok {
		return nil, 0, false
	}
	t, i, ok := q.text(i - 1)
	if !ok {
		return nil, 0, false
	}
	i, ok = q.literal(i, behind)
	return t, i, ok
}

// quickGroup appends the tuples of the array whose bracket was taken, and returns what
// stands behind it.
func (d *Decoder) quickGroup(i int) (int, bool, error) {
	q := &d.fast
	if q.comes(i, ']') {
		return i + 1, true, nil
	}
	q.tuples.begin(d.rows)
	for more := true; more; {
		if d.rows.Len() == flow.MaxBatchRows {
			if ok, err := d.quickFlush(); err != nil || !ok {
				return 0, ok, err
			}
			q.tuples.begin(d.rows)
		}
		var ok bool
		if i, more, ok = d.quickStretch(i); !ok {
			return 0, false, nil
		}
		q.done = i
	}
	i, ok := q.literal(i, "]")
	return i, ok, nil
}

// quickStretch appends the next few tuples, and returns what stands behind them and
// their commas, and whether more have to come. On false it appended none.
func (d *Decoder) quickStretch(i int) (next int, more, ok bool) {
	q := &d.fast
	last := q.end - len(recordTail) // no quote stands there or behind
	t := d.rows.Room(min(quickStretch, flow.MaxBatchRows-d.rows.Len()))
	q.tuples.marks.find(q.data, i)
	n := 0
	for more = true; more && n < len(t.Time) && (n == 0 || i+2*quickTuple <= q.tuples.marks.to); n++ {
		if !q.comes(i, '"') { // no tuple, or a comma and no tuple
			return 0, false, false
		}
		i++
		size, ok := q.tuples.parse(q.data, i, d.rows, &t, n)
		if !ok {
			if size, ok = d.unusual(i, &t, n); !ok {
				return 0, false, false
			}
		}
		t.Offset[n] = q.at + int64(i)
		if i += size + 1; i > last {
			return 0, false, false
		}
		if more = q.data[i] == ','; more {
			i++
		}
	}
	q.tuples.findPlaces(q.data, n)
	for k := 0; ; k++ {
		if k = q.tuples.lookUp(q.data, d.rows, &t, k, n); k == n {
			break
		}
		if _, ok := d.unusual(q.tuples.stretch[k].tuple, &t, k); !ok { // IPv6 without a letter, or no address
			return 0, false, false
		}
	}
	d.rows.Took(n)
	return i, more, true
}

// unusual reads a valid tuple in another form than most: an IPv6 address, say, or a
// time in seconds.
func (d *Decoder) unusual(i int, t *flow.Tuples, at int) (int, bool) {
	n, ok := d.tuples.parse(vnetTuple, d.fast.data[i:d.fast.end], &d.row)
	if !ok || plain(d.fast.data[i:i+n]) != n { // the syntax of the record was not checked
		return 0, false
	}
	r := &d.row
	t.Time[at], t.Src[at], t.Dst[at] = r.Time, d.rows.AddressCode(r.Src), d.rows.AddressCode(r.Dst)
	d.fast.tuples.stretch[at] = quickEnds{} // they have their codes
	t.Encryption[at] = d.rows.EncryptionCode(r.Encryption)
	t.SrcPort[at], t.DstPort[at], t.Protocol[at], t.Direction[at], t.State[at] = r.SrcPort, r.DstPort, r.Protocol, r.Direction, r.State
	c := &r.Counters
	t.Counters[0][at], t.Counters[1][at], t.Counters[2][at], t.Counters[3][at] = c.PacketsSent, c.BytesSent, c.PacketsReceived, c.BytesReceived
	t.Null[at] = c.Null
	return n, true
}

// quickFlush emits the rows collected so far, after the tolerant way was asked whether
// the record under way will be taken.
func (d *Decoder) quickFlush() (bool, error) {
	q := &d.fast
	if !q.checked {
		var s scanner
		data := q.data[:q.end]
		n, st := s.scan(data)
		if st != scanDone || n != q.end || d.record.parse(data, d.pathNIC) != nil {
			return false, nil
		}
		q.checked = true
	}
	return true, d.flush()
}
