// Package stamptest is a time stamping authority on loopback, for tests.
package stamptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/digitorus/timestamp"
)

// Authority answers until its server is closed. Set its fields before it is asked.
type Authority struct {
	*httptest.Server
	Root *x509.Certificate
	At   time.Time // what its clock shows
	// Mistake changes an answer before it is signed; nil for an honest authority.
	Mistake func(*timestamp.Timestamp)
	// Busy is how many requests it still turns away.
	Busy atomic.Int64
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// What a certificate is for: the last part of an OID below 1.3.6.1.5.5.7.3.
const (
	ForCode       = 3
	ForTimeStamps = 8
)

// New starts an authority whose certificate has one purpose, marked critical as RFC 3161
// wants it.
func New(purpose int) *Authority {
	a := &Authority{At: time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)}
	rootKey := newKey()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root of test"}, NotBefore: a.At.AddDate(-1, 0, 0), NotAfter: a.At.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.Root = newCertificate(root, root, rootKey, rootKey)
	a.key = newKey()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Clock of test"}, NotBefore: a.At.AddDate(-1, 0, 0), NotAfter: a.At.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: []pkix.Extension{critical(purpose)}}
	a.cert = newCertificate(leaf, a.Root, a.key, rootKey)
	a.Server = httptest.NewServer(http.HandlerFunc(a.answer))
	return a
}

// RootPEM is the certificate that stands behind all answers.
func (a *Authority) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Root.Raw})
}

func (a *Authority) answer(w http.ResponseWriter, r *http.Request) {
	if a.Busy.Add(-1) >= 0 {
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
		http.Error(w, "no query", http.StatusBadRequest)
		return
	}
	q, err := timestamp.ParseRequest(data)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ts := &timestamp.Timestamp{HashAlgorithm: q.HashAlgorithm, HashedMessage: q.HashedMessage, Nonce: q.Nonce, Time: a.At, Accuracy: time.Second,
		Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: q.Certificates}
	if a.Mistake != nil {
		a.Mistake(ts)
	}
	out, err := ts.CreateResponseWithOpts(a.cert, a.key, q.HashAlgorithm)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(out)
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // no random numbers
	}
	return key
}

func newCertificate(c, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		panic(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return out
}

// critical is the extension for a purpose.
func critical(purpose int) pkix.Extension {
	value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, purpose}})
	if err != nil {
		panic(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: value}
}
