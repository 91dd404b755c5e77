// Package natlog reads what nodes' connection tracking wrote down, and makes
// connections with a begin and an end of it: the evidence that package nat keeps.
//
// In: text or JSON lines of one node. Out: records and the stretches that they cover,
// to a [Sink] such as a nat.Writer. Of all connections it hands on those whose source
// was translated, and of the others just those that had a translated one's key within
// [nat.Beside] of it.
//
// What cannot be read is counted, named with its line, and left out: the time between
// the lines around it is not covered. Memory is bounded
// by the number of translated connections that are open at once and by what ends in
// nat.Beside, not by the length of the input. Nothing here is safe for concurrent use.
package natlog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/whichpod/whichpod/attribution/nat"
)

// Format is one of the formats.
type Format string

const (
	Auto      Format = "auto"      // by the first line
	Conntrack Format = "conntrack" // what "conntrack -E -o timestamp,extended" prints
	Hubble    Format = "hubble"    // flows of Hubble and Retina, as JSON lines
)

// Formats are their names, as the command line has them.
func Formats() []string { return []string{string(Auto), string(Conntrack), string(Hubble)} }

// Sink takes evidence; a nat.Writer is one.
type Sink interface {
	Add(nat.Flow) error
	Cover(node, session string, from, to int64)
}

// Options say what the input is.
type Options struct {
	Format Format
	Node   string // where it was recorded; of Hubble's flows, the only node taken, and empty is all
}

// Summary counts what was read.
type Summary struct {
	Format     Format
	Lines      int
	Events     int // of connections, translated or not
	Flows      int // handed on
	Losses     int // signs that events are missing
	Rejected   int
	Rejections []Rejection // the first of them
	Covered    []nat.Range // when everything was seen
	Unusable   []Unusable  // records that were read, and lack what evidence needs
}

// Unusable counts records that are of no use for one reason, which says what is missing.
type Unusable struct {
	Reason  string `json:"reason"`
	Records int    `json:"records"`
}

// Rejection is a line that could not be used.
type Rejection struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

const keepRejections = 20

func (s *Summary) reject(line int, format string, args ...any) {
	s.Rejected++
	if len(s.Rejections) < keepRejections {
		s.Rejections = append(s.Rejections, Rejection{line, fmt.Sprintf(format, args...)})
	}
}

// maxLine is longer than any line of these formats, in bytes; a longer one is rejected.
const maxLine = 1 << 20

// Read reads one file to its end. Its errors are those of r and of the sink.
func Read(r io.Reader, opt Options, sink Sink) (Summary, error) {
	in := lines{r: bufio.NewReaderSize(r, 1<<16)}
	sum := Summary{Format: opt.Format}
	var p parser
	for {
		line, cut, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return sum, err
		}
		sum.Lines++
		if cut {
			sum.reject(sum.Lines, "the line is longer than %d bytes", maxLine)
			if p != nil {
				p.unread()
			}
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if p == nil {
			if sum.Format == Auto || sum.Format == "" {
				sum.Format = Detect(line)
			}
			if p, err = newParser(&sum, opt.Node, sink); err != nil {
				return sum, err
			}
		}
		if err := p.line(line); err != nil {
			return sum, err
		}
	}
	if p == nil {
		return sum, nil
	}
	return sum, p.end()
}

// Detect tells the format by how the input begins.
func Detect(begin []byte) Format {
	if bytes.HasPrefix(bytes.TrimLeft(begin, "\ufeff \t\r\n"), []byte("{")) {
		return Hubble
	}
	return Conntrack
}

// parser takes the lines of one format.
type parser interface {
	line(b []byte) error // b is valid during the call
	unread()             // a line was too long to be read
	end() error
}

func newParser(sum *Summary, node string, sink Sink) (parser, error) {
	switch sum.Format {
	case Conntrack:
		return &conntrackParser{sum: sum, tracker: NewTracker(node, sink)}, nil
	case Hubble:
		return &hubbleParser{sum: sum, node: node, sink: sink, told: make(map[sample]int64), unused: make(map[string]int)}, nil
	default:
		return nil, fmt.Errorf("format is %q, want %s", sum.Format, strings.Join(Formats(), ", "))
	}
}

// lines cuts a stream into lines.
type lines struct{ r *bufio.Reader }

// next returns a line without its end; cut says that it was too long, and not kept.
func (l *lines) next() (line []byte, cut bool, err error) {
	line, err = l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line)
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = l.r.ReadSlice('\n')
			if cut = cut || len(line)+len(more) > maxLine; !cut {
				line = append(line, more...)
			}
		}
	}
	if err == io.EOF && (len(line) > 0 || cut) {
		err = nil
	}
	return bytes.TrimRight(line, "\r\n"), cut, err
}
