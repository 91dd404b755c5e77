package flow

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// A batch that is assembled of a record and its dictionaries is the one that is read
// from the record, and holds a reference of its own.
func TestAssemble(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := NewBuilder(mem)
	defer b.Release()
	rows := randomRows(rand.New(rand.NewPCG(5, 5)), 500)
	for i := range rows {
		b.Append(&rows[i])
	}
	read := b.NewBatch()
	got := Assemble(read.Record(), Dictionaries{Addresses: read.Addresses, NIC: read.nic.values, Encryption: read.encryption.values,
		Rule: read.rule.values, ACL: read.acl.values, Blob: read.blob.values}, nil)
	read.Release()
	defer got.Release()
	for i := range rows {
		if got.Row(i) != rows[i] {
			t.Fatalf("row %d is %+v, want %+v", i, got.Row(i), rows[i])
		}
	}
}
