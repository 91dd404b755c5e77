package ingest

import (
	"net/netip"
	"strings"

	"github.com/whichpod/whichpod/flow"
)

// sentence reads the decision from the message of a legacy record. Its forms, from
// public logs:
//
//	PROTOCOL request from A:P to B:P. Action: WORD. TAIL
//	PROTOCOL request from A:P to B:P. Url: URL. Action: WORD. TAIL
//	PROTOCOL request from A:P. Action: WORD. TAIL
//	PROTOCOL request from A:P to B:P was DNAT'ed to C:P. TAIL
//
// PROTOCOL may be "ICMP Type=8", ports may be absent or empty, B may be a name where
// the protocol is HTTP, HTTPS or MSSQL, and TAIL names the rule, or says in other
// words what decided, or is absent.
func (d *decision) sentence(msg string) *shapeError {
	*d = decision{allowed: true}
	bad := func(what string) *shapeError { return wrongShape("message %s: %s", what, quote([]byte(msg))) }
	protocol, rest, ok := strings.Cut(msg, " request from ")
	protocol = strings.TrimSpace(protocol)
	if !ok {
		return bad("does not say \"request from\"")
	}
	if d.protocol, ok = protocolNumber(protocol); !ok {
		return bad("names no protocol that is known")
	}
	var word string
	word, rest = nextWord(rest)
	if ok := d.src.parse(word, false); !ok {
		return bad("has no source address and port")
	}
	d.dst.addr = flow.Unknown
	if to, ok := strings.CutPrefix(rest, "to "); ok {
		word, rest = nextWord(to)
		if ok := d.dst.parse(word, takesNames(protocol)); !ok {
			return bad("has no destination address and port")
		}
	} else if !takesNames(protocol) {
		return bad("does not say to where")
	}
	if to, ok := strings.CutPrefix(rest, "was DNAT'ed to "); ok {
		word, rest = nextWord(to)
		if ok := d.dst.parse(word, false); !ok {
			return bad("does not say to where it was translated")
		}
		d.tail(rest)
		return nil
	}
	if url, ok := strings.CutPrefix(rest, "Url: "); ok {
		_, rest = nextWord(url)
	}
	rest, ok = strings.CutPrefix(rest, "Action: ")
	word, rest = nextWord(rest)
	if !ok || !d.act([]byte(word)) {
		return bad("has no action Allow, Alert, Deny, Drop or Reject")
	}
	d.tail(rest)
	return nil
}

// nextWord cuts s at its first space. The full stops behind a word are not of it.
func nextWord(s string) (word, rest string) {
	word, rest, _ = strings.Cut(s, " ")
	return strings.TrimRight(word, "."), strings.TrimLeft(rest, " ")
}

// takesNames says whether a rule for a protocol is about names.
func takesNames(protocol string) bool {
	p := strings.ToUpper(protocol)
	return strings.HasPrefix(p, "HTTP") || strings.HasPrefix(p, "MSSQL")
}

// parse reads ADDRESS, ADDRESS:PORT or ADDRESS:, an IPv6 address in brackets where a
// port follows; or a name in its place, which leaves the address unknown.
func (e *endpoint) parse(s string, named bool) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
	}
	if strings.HasPrefix(s, "[") {
		if !strings.HasSuffix(host, "]") {
			return false
		}
		host = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		return false // its last group may be a port
	}
	var ok bool
	if e.port, ok = parsePort(port); !ok {
		return false
	}
	a, err := netip.ParseAddr(host)
	switch {
	case err == nil && a.Zone() == "":
		e.addr = a.Unmap()
	case named && host != "":
		e.addr = flow.Unknown
	default:
		return false
	}
	return true
}

// tail reads what decided. Names may hold any character, so each goes on to the next
// label.
func (d *decision) tail(s string) {
	s = strings.Trim(s, ". ")
	labels := []string{"Policy: ", "Rule Collection Group: ", "Rule Collection: ", "Rule: ", "Web Category: "}
	var values [5][]byte
	found := false
	for i, label := range labels {
		v, ok := strings.CutPrefix(s, label)
		if !ok {
			continue
		}
		end := len(v)
		for _, later := range labels[i+1:] {
			if at := strings.Index(v, ". "+later); at >= 0 {
				end = min(end, at)
			}
		}
		values[i], found = []byte(v[:end]), true
		s = strings.TrimLeft(v[end:], ". ")
	}
	d.acl, d.rule = joinNames(values[0], values[1], values[2]), values[3]
	if !found {
		d.rule = []byte(s)
	}
}
