// Package hygiene tests the repository itself: the direction of its imports, its
// package comments, its formatting, its documents and its dependencies. It has no
// code to import.
//
// In: the files of the checkout, read once. Out: one line for each thing that is
// wrong, as a failed test. A check is a function from a file tree to such lines, and
// has a test of its own that gives it a small bad tree: a check that can not fail is
// worth nothing.
package hygiene
