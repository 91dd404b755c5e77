package ingest

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/whichpod/whichpod/flow"
)

// Decoder turns blobs into batches, one blob after the other. It holds at most
// about one record, up to [MaxRecordBytes], and one batch.
type Decoder struct {
	emit   func(*flow.Batch) error
	reject func(flow.Rejection)

	frames  framer
	fast    quickReader
	record  record
	tuples  tupleParser
	rows    *flow.Builder
	row     flow.Row
	blob    string
	pathNIC string
}

// NewDecoder returns a decoder that allocates batches from mem.
//
// It calls emit with each batch, of at most [flow.MaxBatchRows] rows of one blob in
// their order, and releases it when emit returns: emit MUST Retain what it keeps. It
// calls reject with each piece of input that it leaves out. The caller MUST Close
// the decoder.
func NewDecoder(mem memory.Allocator, emit func(*flow.Batch) error, reject func(flow.Rejection)) *Decoder {
	d := &Decoder{emit: emit, reject: reject, rows: flow.NewBuilder(mem)}
	d.frames.reject = func(offset int64, reason, detail string) {
		d.reject(flow.Rejection{Blob: d.blob, Offset: offset, Reason: reason, Detail: detail})
	}
	return d
}

// Close frees the decoder's memory.
func (d *Decoder) Close() { d.rows.Release() }

// Decode reads the blob from.Blob on from a position: the zero Offset for a whole
// blob, or one that Decode returned before, even if the blob ended there in the
// middle of a record. r MUST deliver the blob's bytes from [ResumeAt] on; where those
// before the position are not the ones that were read, Decode takes nothing and
// fails with an error that is [ErrRewritten].
//
// The rows of a record are taken only if all of its JSON is well formed and of the
// expected shape. A record broken in the middle contributes nothing but one rejection; the
// whole records around it are kept. A tuple that is not valid is one rejection, and
// the others of its record are kept.
//
// The result says how far the blob was read: Length counts the bytes that there
// were, Offset stands after the last whole record, Tail tells why bytes behind it
// are no record. What Tail stands for was rejected too and will be again, if still
// there, when reading resumes. ETag is that of from.
//
// After an error of r, of ctx or of emit, the position is that after the last whole
// record whose rows were all emitted, and Length equals its Offset. After an error
// of emit it is of no use: some rows behind it may have been emitted.
func (d *Decoder) Decode(ctx context.Context, r io.Reader, from flow.Position) (flow.Position, error) {
	d.blob, d.pathNIC = from.Blob, pathMAC(from.Blob)
	w := &d.frames.win
	if err := w.start(ctx, r, from); err != nil {
		return from, err
	}
	defer func() { w.ctx, w.r = nil, nil }()
	d.frames.start(from)
	d.fast.misses = 0
	err := d.records()
	if flushErr := d.flush(); err == nil {
		err = flushErr
	}
	w.settle()
	p := flow.Position{Blob: from.Blob, ETag: from.ETag, Length: w.end(), Offset: w.whole, Check: w.check, Tail: d.frames.tail}
	if err != nil {
		p.Length, p.Tail = p.Offset, "reading failed"
		return p, fmt.Errorf("decode blob %q: %w", from.Blob, err)
	}
	return p, nil
}

func (d *Decoder) records() error {
	for {
		if ok, err := d.frames.next(); !ok || err != nil {
			return err
		}
		if taken, err := d.quick(); err != nil {
			return err
		} else if taken {
			continue
		}
		at := d.frames.pos
		data, err := d.frames.record()
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		if bad := d.record.parse(data, d.pathNIC); bad != nil {
			d.frames.reject(at, bad.reason, bad.detail)
			if d.record.wrapper { // {"x": 1, "records": [ … ]}
				if err := d.frames.resync(at + 1); err != nil {
					return err
				}
			}
			continue
		}
		if d.record.kind == decisionRecord {
			err = d.takeDecision(at)
		} else {
			err = d.take(data, at, 0)
		}
		if err != nil {
			return err
		}
	}
}

// take emits the rows of a parsed record, but for the tuples before byte from of it.
func (d *Decoder) take(data []byte, at int64, from int) error {
	c := cursor{b: data}
	d.row.Blob, d.row.RecordTime = d.blob, d.record.time
	for _, g := range d.record.groups {
		d.row.NIC = d.record.nic
		if !g.mac.absent() {
			d.row.NIC = d.tuples.mac(c.unquote(g.mac))
		}
		d.row.ACL = d.tuples.name(c.unquote(g.acl))
		d.row.Rule = d.tuples.name(c.unquote(g.rule))
		c.i = int(g.tuples.lo)
		c.enter('[')
		for c.item() {
			if c.i < from {
				c.skip()
				continue
			}
			if !d.tuple(&c, at) {
				continue
			}
			if err := d.append(); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeDecision emits the row of a firewall's decision. It stands where its record
// does.
func (d *Decoder) takeDecision(at int64) error {
	x := &d.record.decision
	d.row = flow.Row{
		Time: d.record.time, State: flow.Begin, Src: x.src.addr, Dst: x.dst.addr, SrcPort: x.src.port, DstPort: x.dst.port,
		Protocol: x.protocol, Allowed: x.allowed, Rule: d.tuples.name(x.rule), ACL: d.tuples.name(x.acl),
		Counters: flow.Counters{Null: flow.NullAll}, RecordTime: d.record.time, Blob: d.blob, Offset: at,
	}
	if !x.allowed {
		d.row.State = flow.Denied
	}
	return d.append()
}

// append takes d.row, once a batch that is full was emitted.
func (d *Decoder) append() error {
	if d.rows.Len() == flow.MaxBatchRows {
		if err := d.flush(); err != nil {
			return err
		}
	}
	d.rows.Append(&d.row)
	return nil
}

// tuple takes the tuple under the cursor into d.row. at is where the record stands in
// the blob.
func (d *Decoder) tuple(c *cursor, at int64) bool {
	from := c.i
	d.row.Offset = at + int64(from) + 1
	if c.b[from] != '"' {
		d.frames.reject(at+int64(from), ReasonTuple, "tuple is "+describe(c.at(c.skip()))+", want a string")
		return false
	}
	if n, ok := d.tuples.parse(d.record.form, c.b[from+1:], &d.row); ok {
		c.i += 1 + n + 1
		return true
	}
	t := c.text(c.skip())
	if d.tuples.parseText(d.record.form, t, &d.row) {
		return true
	}
	d.frames.reject(d.row.Offset, ReasonTuple, explainTuple(d.record.form, t))
	return false
}

func (d *Decoder) flush() error {
	b := d.rows.NewBatch()
	d.fast.tuples.forget()
	if b == nil {
		return nil
	}
	defer b.Release()
	return d.emit(b)
}
