package podlog

import (
	"bytes"
	"encoding/json"
)

// readEvent is an event whose object was read.
type readEvent struct {
	event
	object object
}

// plain takes a line that is an event written as watch journals are, in one line and
// without space between the members: its object is read once, where json would go over
// it four times more. The document that the line then is has its event in r.ready. A
// line that it does not take is read any other way, with the same result.
func (r *reader) plain(line []byte) bool {
	if r.opt.Format != Watch && (r.opt.Format != Auto || r.audit != nil || isAudit(line)) {
		return false
	}
	ready, ok := plainEvent(line)
	r.ready = ready
	return ok
}

func plainEvent(line []byte) (*readEvent, bool) {
	rest, ok := bytes.CutPrefix(bytes.Trim(line, " \t\r\n"), []byte(`{"type":"`))
	if !ok {
		return nil, false
	}
	typ, rest, ok := bytes.Cut(rest, []byte(`"`))
	if !ok || len(typ) == 0 || bytes.ContainsFunc(typ, isNoLetter) {
		return nil, false
	}
	e := &readEvent{event: event{Type: string(typ)}}
	if after, ok := bytes.CutPrefix(rest, []byte(`,"receivedAt":`)); ok {
		n := bytes.Index(after, []byte(`",`)) + 1
		e.ReceivedAt = new(receipt)
		if e.ReceivedAt.UnmarshalJSON(after[:n]) != nil {
			return nil, false
		}
		rest = after[n:]
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"object":`))
	last := len(rest) - 1
	if !ok || last < 1 || rest[0] != '{' || rest[last-1] != '}' || rest[last] != '}' {
		return nil, false
	}
	e.Object = rest[:last] // the line's
	if !plainObject(e.Object, &e.object) {
		e.object = object{}
		if json.Unmarshal(e.Object, &e.object) != nil {
			return nil, false
		}
	}
	return e, true
}

func isNoLetter(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }
