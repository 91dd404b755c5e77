package attribution

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"unsafe"
)

// words keeps each distinct run of bytes once and gives it a number, counted from 0:
// names, label sets, what the pods of a replica set have in common. It holds no
// pointer per word. What is kept is never changed, so a copy of a words value goes on
// reading while the original takes more in; only one of them may do that.
type words struct {
	chunks [][]byte
	at     []uint32 // of each word: its chunk, and where in it its length stands
	table  table
}

// wordChunk is the usual size of a chunk, in bytes: a word that does not fit into
// what is left begins a new one, and a longer word has one of its own.
const (
	wordChunkBits = 18
	wordChunk     = 1 << wordChunkBits
)

var hashSeed = maphash.MakeSeed()

// id is the number of a word, which is taken in where it is new.
func (w *words) id(word []byte) uint32 {
	hash := maphash.Bytes(hashSeed, word)
	if id, ok := w.table.find(hash, func(id uint32) bool { return string(w.get(id)) == string(word) }); ok {
		return id
	}
	id := uint32(len(w.at))
	last := len(w.chunks) - 1
	if last < 0 || len(w.chunks[last])+len(word)+binary.MaxVarintLen32 > cap(w.chunks[last]) {
		w.chunks = append(w.chunks, make([]byte, 0, max(wordChunk, len(word)+binary.MaxVarintLen32)))
		last++
	}
	chunk := w.chunks[last]
	w.at = append(w.at, uint32(last)<<wordChunkBits|uint32(len(chunk)))
	w.chunks[last] = append(binary.AppendUvarint(chunk, uint64(len(word))), word...)
	w.table.add(hash, id, w.hashOf)
	return id
}

func (w *words) hashOf(id uint32) uint64 { return maphash.Bytes(hashSeed, w.get(id)) }

// get is a word by its number. It MUST NOT be changed.
func (w *words) get(id uint32) []byte {
	at := w.at[id]
	b := w.chunks[at>>wordChunkBits][at&(wordChunk-1):]
	n, k := binary.Uvarint(b)
	return b[k : k+int(n) : k+int(n)]
}

// text is a word as a text that shares its bytes.
func (w *words) text(id uint32) string {
	b := w.get(id)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// snapshot reads on, whatever w takes in later.
func (w *words) snapshot() words { return words{chunks: slices.Clone(w.chunks), at: w.at} }
