// Package ingest turns flow logs into rows: it lists blobs, reads from each what
// is new, and hands rows, rejections and read positions to a sink.
//
// In: a [Source] of blobs: flow logs of virtual networks and of network security
// groups, rule logs of Azure Firewall, told by their content. Out: [flow.Batch] values
// in the order of the blob, a [flow.Rejection] for whatever was left out, and the
// [flow.Position] reached. [Decoder] does that for one blob, [Run] for all blobs of a
// source, and [Follower] again and again as they grow.
//
// Blobs are only listed and read. A source is used by one [Run] at a time, a
// Decoder by one goroutine; two Decoders share nothing. Nothing is durable before
// [Sink.Commit] returns, and then the rows of a blob and its position are both.
//
// Format facts are from "Virtual network flow logs" (vnet-flow-logs-overview) and
// "Read flow logs" (flow-logs-read), both on learn.microsoft.com under
// azure/network-watcher, unless a comment names another source.
package ingest

import (
	"context"
	"errors"
	"io"
	"time"
)

// Blob is one listed flow log.
type Blob struct {
	Name     string    // see [Name]: the same for a container and a mirror of it
	ETag     string    // of the listed version; empty where the source has none
	Length   int64     // of the listed version, in bytes
	Modified time.Time // of the listed version, UTC
	Path     string    // where the source finds it: a file's path, a blob's full name
}

// Source is a place with flow logs.
type Source interface {
	// List calls fn for each flow log, always in the same order, and stops at the
	// first error of fn, which it returns. It may leave out those that the hours do not
	// cover. No flow log at all is not an error. fn may call Open.
	List(ctx context.Context, hours Hours, fn func(Blob) error) error

	// Open returns the bytes of a listed blob from offset on, which is at most its
	// Length. They MUST be of the version that was listed: otherwise Open, or a Read
	// at the latest before io.EOF, fails with an error that is [ErrChanged]. The
	// caller MUST close the reader. Any number of goroutines may call it.
	Open(ctx context.Context, b Blob, offset int64) (io.ReadCloser, error)
}

// ErrChanged says that a blob is no longer the version that was listed.
var ErrChanged = errors.New("blob changed after it was listed")

// SinkError is an error of the [Sink], after which the sink is of no more use.
type SinkError struct{ Err error }

func (e *SinkError) Error() string { return e.Err.Error() }
func (e *SinkError) Unwrap() error { return e.Err }

// ErrRewritten says that the bytes before a resume position are not those that
// were read: the blob has to be read again from its start.
var ErrRewritten = errors.New("blob was rewritten")

// Reasons of a [flow.Rejection].
const (
	ReasonTuple       = "tuple"       // a tuple is not 13 valid fields; the record's other tuples were taken
	ReasonRecord      = "record"      // a record is broken or not of the expected shape; none of its tuples was taken
	ReasonUnsupported = "unsupported" // a whole record of another version or category
	ReasonTooLarge    = "too-large"   // a record beyond MaxRecordBytes
	ReasonStray       = "stray"       // bytes between records that belong to none
	ReasonTruncated   = "truncated"   // the blob ends before its closing brackets
	ReasonEmpty       = "empty"       // no byte, or nothing but space
	ReasonFlood       = "flood"       // stands for all further rejections of a blob, with their number
)
