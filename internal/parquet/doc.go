// Package parquet writes Parquet files whose columns are texts with few different
// values, numbers and lists of texts.
//
// In: groups of rows, as columns of dictionary codes or of numbers. Out: bytes to a
// writer, in the order in which groups come; equal groups make equal bytes. It exists
// because a general writer takes each value through a hash table and each level
// through an interface, and this one takes codes as they are: docs/design/0008-a-parquet-writer-for-codes.md.
//
// The format is that of https://parquet.apache.org/docs/file-format: data pages of
// version 1, one a column chunk, compressed with zstd where that helps. A Writer is
// used by one goroutine; nothing is complete before Close returned nil.
package parquet
