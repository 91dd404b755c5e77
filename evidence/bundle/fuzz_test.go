package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/whichpod/whichpod/ingest"
)

// What a stranger sends is read without a panic and in bounded memory, and what is wrong
// is named with its file. He may have signed it, so each fuzz target puts other bytes
// in the place of one file and signs that.

func FuzzRows(f *testing.F)            { fuzzFile(f, rowsFile, false) }
func FuzzQuestion(f *testing.F)        { fuzzFile(f, questionFile, true) }
func FuzzCompleteness(f *testing.F)    { fuzzFile(f, completenessFile, true) }
func FuzzClaims(f *testing.F)          { fuzzFile(f, claimsFile, true) }
func FuzzInterfaces(f *testing.F)      { fuzzFile(f, nicsFile, false) }
func FuzzLedgerSlice(f *testing.F)     { fuzzFile(f, ledgerFolder+"/ledger.journal", false) }
func FuzzNATImports(f *testing.F)      { fuzzFile(f, natFolder+"/evidence.journal", false) }
func FuzzNATTranslations(f *testing.F) { fuzzFile(f, natFolder+"/m00000000-000000.nat", false) }

// fuzzMemory is what checking a bundle of a few kilobytes may allocate in all, in bytes.
const fuzzMemory = 512 << 20

func fuzzFile(f *testing.F, name string, derive bool) {
	s := newStranger(f)
	was := mustRead(f, s.dir, name)
	for _, n := range []int{len(was), len(was) - 1, len(was) / 2, 9, 0} {
		f.Add(was[:min(n, len(was))])
	}
	f.Add(bytes.Repeat([]byte("["), 20_000))
	var opt Options
	if derive {
		var err error
		opt.Raw, err = ingest.OpenFolder("testdata/v1/flowlogs")
		must(f, err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		must(t, os.WriteFile(s.dir.path(name), data, 0o644))
		s.sign(t)
		r := s.check(t, opt)
		if bytes.Equal(data, was) {
			if !r.OK() {
				t.Fatalf("as it was: %q", r.Problems)
			}
			return
		}
		for _, p := range r.Problems {
			if !strings.Contains(p, filepath.Base(name)) && !strings.Contains(p, filepath.Dir(name)+"/") && !(derive && (strings.Contains(p, "flow logs") || strings.HasPrefix(p, "blob "))) {
				t.Errorf("it does not name %s: %s", name, p)
			}
		}
	})
}

// FuzzManifest has other bytes in the place of the manifest, and other statements in it,
// signed.
func FuzzManifest(f *testing.F) {
	s := newStranger(f)
	was := mustRead(f, s.dir, manifestFile)
	var envelope dsse.Envelope
	must(f, json.Unmarshal(was, &envelope))
	body, err := base64.StdEncoding.DecodeString(envelope.Payload)
	must(f, err)
	for _, signed := range []bool{false, true} {
		for _, seed := range [][]byte{was, body, body[:len(body)/2], {}, []byte("{}"), []byte("null"), []byte(`{"predicate":{"since":"x"}}`), []byte(`{"signatures":[{}]}`)} {
			f.Add(seed, signed)
		}
	}
	signer, err := dsse.NewEnvelopeSigner(s.key)
	must(f, err)
	f.Fuzz(func(t *testing.T, data []byte, signed bool) {
		if signed {
			e, err := signer.SignPayload(t.Context(), payloadType, data)
			must(t, err)
			data, err = encodeEnvelope(e)
			must(t, err)
		}
		must(t, os.WriteFile(s.dir.path(manifestFile), data, 0o644))
		r := s.check(t, Options{})
		if !signed && !bytes.Equal(data, was) && r.OK() {
			t.Fatal("bytes that nobody signed pass")
		}
		for _, p := range r.Problems {
			if !r.Signed && !strings.HasPrefix(p, manifestFile+": ") {
				t.Errorf("it does not name the manifest: %s", p)
			}
		}
		if _, err := Folder(filepath.Dir(string(s.dir))).Chain(t.Context()); err != nil && !strings.Contains(err.Error(), manifestFile) && !strings.Contains(err.Error(), filepath.Base(string(s.dir))) {
			t.Errorf("the list does not name the manifest: %v", err)
		}
	})
}

// stranger has a key, and a bundle to put other files into.
type stranger struct {
	dir       files
	key       Signer
	public    *PublicKey
	predicate predicate
}

func newStranger(f *testing.F) *stranger {
	f.Helper()
	s := &stranger{}
	s.key, s.public = keys(f, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize)))
	list, err := filepath.Glob("testdata/v1/bundles/000002-*")
	must(f, err)
	s.dir = files(copied(f, list[0]))
	st, err := openManifest(context.Background(), mustRead(f, s.dir, manifestFile), publicKey(f, "testdata/v1/public.pem"))
	must(f, err)
	s.predicate = st.Predicate
	s.sign(f)
	return s
}

func (s *stranger) sign(t testing.TB) {
	t.Helper()
	must(t, os.Remove(s.dir.path(manifestFile)))
	names, err := s.dir.list()
	must(t, err)
	st := statement{Type: statementType, PredicateType: predicateType, Predicate: s.predicate}
	for _, name := range names {
		digest, err := s.dir.digest(name)
		must(t, err)
		st.Subject = append(st.Subject, subject{name, map[string]string{"sha256": digest}})
	}
	data, err := st.sign(context.Background(), s.key)
	must(t, err)
	must(t, os.WriteFile(s.dir.path(manifestFile), data, 0o644))
}

func (s *stranger) check(t testing.TB, opt Options) *Report {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	reports, err := Verify(context.Background(), string(s.dir), s.public, opt)
	runtime.ReadMemStats(&after)
	must(t, err)
	if n := after.TotalAlloc - before.TotalAlloc; n > fuzzMemory {
		t.Errorf("it allocated %d bytes", n)
	}
	return &reports[0]
}
