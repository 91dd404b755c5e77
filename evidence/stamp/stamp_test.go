package stamp

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/google/go-cmp/cmp"

	"github.com/whichpod/whichpod/evidence/stamp/stamptest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// authority is a running one, with what reaches it.
func authority(t testing.TB, purpose int) (*stamptest.Authority, *Authority) {
	t.Helper()
	server := stamptest.New(purpose)
	t.Cleanup(server.Close)
	a, err := NewAuthority(server.URL)
	must(t, err)
	a.wait = 0
	return server, a
}

var message = []byte("a manifest")

// An answer checks against the authority's root, and says when and who.
func TestStamp(t *testing.T) {
	t.Parallel()
	server, a := authority(t, stamptest.ForTimeStamps)
	answer, err := a.Stamp(context.Background(), message)
	must(t, err)
	want := &Stamp{Time: server.At, Accuracy: time.Second, By: "CN=Clock of test", Trusted: true}
	got, err := Check(answer, message, []*x509.Certificate{server.Root})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v:\n%s", err, diff)
	}
	want.Trusted = false
	got, err = Check(answer, message, nil)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("without a root: error %v:\n%s", err, diff)
	}
	other, _ := authority(t, stamptest.ForTimeStamps)
	for name, c := range map[string]struct {
		message []byte
		root    *x509.Certificate
		want    string
	}{
		"other bytes": {[]byte("another manifest"), server.Root, "about other bytes"},
		"other root":  {message, other.Root, "certificate chain"},
	} {
		if _, err := Check(answer, c.message, []*x509.Certificate{c.root}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// What OpenSSL's authority answered checks, years after.
func TestStampByOpenSSL(t *testing.T) {
	t.Parallel()
	read := func(name string) []byte {
		data, err := os.ReadFile("testdata/" + name)
		must(t, err)
		return data
	}
	root, err := ParseCertificates(read("root.pem"))
	must(t, err)
	got, err := Check(read("answer.tsr"), read("message"), root)
	want := &Stamp{Time: time.Date(2026, 11, 24, 3, 59, 10, 0, time.UTC), Accuracy: time.Second, By: "CN=OpenSSL test clock", Trusted: true}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v:\n%s", err, diff)
	}
}

// An answer that is not to the request is refused while it is asked for.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		purpose int
		mistake func(*timestamp.Timestamp)
		want    string
	}{
		"other nonce":    {stamptest.ForTimeStamps, func(s *timestamp.Timestamp) { s.Nonce = big.NewInt(7) }, "nonce"},
		"no nonce":       {stamptest.ForTimeStamps, func(s *timestamp.Timestamp) { s.Nonce = nil }, "nonce"},
		"other bytes":    {stamptest.ForTimeStamps, func(s *timestamp.Timestamp) { s.HashedMessage = bytes.Repeat([]byte{1}, 32) }, "about other bytes"},
		"no certificate": {stamptest.ForTimeStamps, func(s *timestamp.Timestamp) { s.AddTSACertificate = false }, "is not with it"},
		"expired":        {stamptest.ForTimeStamps, func(s *timestamp.Timestamp) { s.Time = s.Time.AddDate(2, 0, 0) }, "expired"},
		"for code":       {stamptest.ForCode, nil, "incompatible key usage"},
	} {
		server, a := authority(t, c.purpose)
		server.Mistake = c.mistake
		if _, err := a.Stamp(context.Background(), message); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), server.URL) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// An authority that is busy is asked again; one that refuses, or is not there, is an error.
func TestAway(t *testing.T) {
	t.Parallel()
	server, a := authority(t, stamptest.ForTimeStamps)
	server.Busy.Store(tries - 1)
	_, err := a.Stamp(context.Background(), message)
	must(t, err)
	server.Busy.Store(tries)
	if _, err = a.Stamp(context.Background(), message); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("got %v", err)
	}
	server.Close()
	if _, err = a.Stamp(context.Background(), message); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = a.Stamp(ctx, message); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What is no answer of an authority is an error that says what came.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	rejected, err := timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.TimeNotAvailable)
	must(t, err)
	for want, body := range map[string][]byte{
		"no time stamp":      []byte("<html>"),
		"it is no":           nil,
		"time source is not": rejected,
		"more than":          make([]byte, MaxAnswer+1),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
		a, err := NewAuthority(server.URL)
		must(t, err)
		if _, err := a.Stamp(context.Background(), message); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		server.Close()
	}
	for _, bad := range []string{"", "tsa.example", "ftp://tsa.example/", "http://", "%"} {
		if _, err := NewAuthority(bad); err == nil {
			t.Errorf("%q is the URL of an authority", bad)
		}
	}
}

// Whatever byte is flipped or wherever an answer is cut, it is refused, or says the same:
// not all bytes around a signature are signed.
func TestEveryByteOfAnAnswer(t *testing.T) {
	t.Parallel()
	server, a := authority(t, stamptest.ForTimeStamps)
	answer, err := a.Stamp(context.Background(), message)
	must(t, err)
	roots := []*x509.Certificate{server.Root}
	want, err := Check(answer, message, roots)
	must(t, err)
	refused := 0
	for at := range answer {
		for bit := range 8 {
			answer[at] ^= 1 << bit
			got, err := Check(answer, message, roots)
			if diff := cmp.Diff(want, got); err == nil && diff != "" {
				t.Errorf("bit %d of byte %d:\n%s", bit, at, diff)
			}
			if err != nil {
				refused++
			}
			answer[at] ^= 1 << bit
		}
		if _, err := Check(answer[:at], message, roots); err == nil {
			t.Errorf("cut at %d", at)
		}
	}
	if share := float64(refused) / float64(8*len(answer)); share < 0.9 {
		t.Errorf("%.0f %% of the flips were refused", 100*share)
	}
}

func TestParseCertificates(t *testing.T) {
	t.Parallel()
	server, _ := authority(t, stamptest.ForTimeStamps)
	two := append(server.RootPEM(), server.RootPEM()...)
	if got, err := ParseCertificates(two); err != nil || len(got) != 2 || !got[0].Equal(server.Root) {
		t.Errorf("got %v, error %v", got, err)
	}
	for _, bad := range []string{"", "x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParseCertificates([]byte(bad)); err == nil {
			t.Errorf("%q is a certificate", bad)
		}
	}
}
