package bundle

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/whichpod/whichpod/ingest"
)

// A chain of each version of the format, as the first whichpod that wrote the version
// wrote it, checks forever: alone, and against its flow logs. Such a folder is never
// written anew; a changed byte of the format means a new one beside it.
func TestEveryVersionChecks(t *testing.T) {
	t.Parallel()
	versions, err := filepath.Glob("testdata/v*")
	must(t, err)
	if len(versions) == 0 {
		t.Fatal("no version")
	}
	for _, dir := range versions {
		public := publicKey(t, filepath.Join(dir, "public.pem"))
		raw, err := ingest.OpenFolder(filepath.Join(dir, "flowlogs"))
		must(t, err)
		for _, src := range []ingest.Source{nil, raw} {
			reports, err := Verify(context.Background(), filepath.Join(dir, "bundles"), public, Options{Raw: src})
			must(t, err)
			if len(reports) < 2 {
				t.Errorf("%s: %d bundles are no chain", dir, len(reports))
			}
			for i := range reports {
				if r := &reports[i]; !r.OK() || !r.Signed || r.Rows == 0 || r.Derived != (src != nil) {
					t.Errorf("%s: %+v", dir, r)
				}
			}
		}
	}
}

// The fixture of version 1 has each kind of file, and an amendment.
func TestFixtureHasEachKindOfFile(t *testing.T) {
	t.Parallel()
	reports, err := Verify(context.Background(), "testdata/v1/bundles", publicKey(t, "testdata/v1/public.pem"), Options{})
	must(t, err)
	last := &reports[len(reports)-1]
	if last.Amends == nil || last.Amends.Name != reports[0].Name || reports[0].AmendedBy != last.Name || len(last.Reasons) == 0 {
		t.Errorf("%+v", last)
	}
	f := files(filepath.Join("testdata/v1/bundles", last.Name))
	for _, name := range []string{manifestFile, questionFile, rowsFile, completenessFile, nicsFile, claimsFile, readmeFile, textFile, pageFile, ledgerFolder + "/ledger.journal", natFolder + "/evidence.journal"} {
		if len(mustRead(t, f, name)) < 3 {
			t.Errorf("%s holds nothing", name)
		}
	}
}

func publicKey(t testing.TB, path string) *PublicKey {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	key, err := ParsePublicKey(data)
	must(t, err)
	return key
}
