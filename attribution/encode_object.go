package attribution

// Payloads about objects other than pods: docs/format/ledger.md.
const (
	payloadObject        = 16
	payloadObjectWatched = 17
)

// aboutObjects says whether the fact is about another kind than pods.
func (f *Fact) aboutObjects() bool { return f.Kind != Pods }

// encodeObject appends the payload of a fact about another kind than pods.
func (f *Fact) encodeObject(e *encoder) {
	if f.Watched != nil {
		e.byte(payloadObjectWatched)
		e.int(f.KnownAt)
		e.text(f.Cluster)
		e.byte(byte(f.Kind))
		e.int(f.Watched.From)
		e.int(f.Watched.To)
		e.int(f.Late)
		return
	}
	o := &f.Object
	e.byte(payloadObject)
	e.int(f.KnownAt)
	e.text(f.Cluster)
	e.byte(byte(f.Kind))
	e.text(o.Namespace)
	e.text(o.Name)
	e.byte(byte(o.Source))
	e.uint(o.Version)
	e.int(o.Written)
	e.int(o.SeenBy)
	e.int(o.SeenLast)
	e.bool(o.State != nil)
	if o.State == nil {
		return
	}
	e.text(o.State.UID)
	e.int(o.State.Created)
	e.uint(uint64(len(o.State.Fields)))
	for _, field := range o.State.Fields {
		e.text(field.Key)
		e.text(field.Value)
	}
}

// object reads what follows the name of the cluster.
func (d *decoder) object(f *Fact, kind byte) {
	f.Kind = Kind(d.byte())
	d.bad = d.bad || f.Kind == Pods || f.Kind >= numKinds
	if kind == payloadObjectWatched {
		f.Watched = &Range{From: d.int(), To: d.int()}
		f.Late = d.int()
		return
	}
	o := &f.Object
	o.Namespace, o.Name, o.Source = d.text(), d.text(), Source(d.byte())
	o.Version, o.Written, o.SeenBy, o.SeenLast = d.uint(), d.int(), d.int(), d.int()
	d.bad = d.bad || o.Source >= numSources || o.Version == 0
	if !d.bool() {
		return
	}
	o.State = &State{UID: string(d.take(d.uint())), Created: d.int()}
	for n := d.count(); n > 0 && !d.bad; n-- {
		o.State.Fields = append(o.State.Fields, Field{Key: d.text(), Value: d.text()})
	}
}
