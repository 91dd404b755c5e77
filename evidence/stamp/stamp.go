// Package stamp asks a time stamping authority (TSA, RFC 3161) to sign when some bytes
// were there, and checks what it answered.
//
// In: bytes, and the URL of an authority or the certificates that it is trusted by. Out:
// the authority's answer as it came, to be kept, and the [Stamp] that it holds. Only
// [Authority.Stamp] uses the network. An Authority is safe for concurrent use.
package stamp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	_ "crypto/sha256" // registers what stamps may be about
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
)

// MaxAnswer bounds the answer of an authority, in bytes: mostly it has 3 to 8 KiB.
const MaxAnswer = 1 << 20

// patience is how long an authority may take to answer.
const patience = 30 * time.Second

// tries is how often an authority is asked that is away or busy.
const tries = 3

// Stamp is what an authority says: that it had seen the bytes at that time.
type Stamp struct {
	Time     time.Time     `json:"time"`
	Accuracy time.Duration `json:"accuracy_ns"` // either way; 0 where it is not told
	By       string        `json:"by"`          // the subject of the certificate that signed
	Trusted  bool          `json:"trusted"`     // that certificate was checked against one that was given
}

// Authority is reached at a URL.
type Authority struct {
	url  *url.URL
	wait time.Duration // before the second try
}

// NewAuthority reads the URL of an authority, http or https.
func NewAuthority(address string) (*Authority, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("time stamping authority is %q, want http://HOST/PATH or https://HOST/PATH", address)
	}
	return &Authority{url: u, wait: time.Second}, nil
}

// Stamp asks for a time stamp over the SHA-256 of message. The answer was checked as
// far as that goes without the authority's root: it is to this request, about these
// bytes, and signed by a certificate for time stamps that came with it.
func (a *Authority) Stamp(ctx context.Context, message []byte) (answer []byte, err error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, fmt.Errorf("ask for a time stamp: %w", err)
	}
	request, err := timestamp.CreateRequest(bytes.NewReader(message), &timestamp.RequestOptions{Certificates: true, Nonce: nonce})
	if err != nil {
		return nil, fmt.Errorf("ask for a time stamp: %w", err)
	}
	answer, err = a.ask(ctx, request)
	if err == nil {
		_, err = check(answer, message, nil, nonce)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s for a time stamp: %w", a.url.Redacted(), err)
	}
	return answer, nil
}

// ask sends a request until it is answered, a few times at most.
func (a *Authority) ask(ctx context.Context, request []byte) ([]byte, error) {
	wait := a.wait
	for try := 1; ; try++ {
		answer, again, err := a.post(ctx, request)
		if err == nil || !again || try == tries {
			return answer, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(wait):
			wait *= 4
		}
	}
}

// post sends a request once. again says that another try may help.
func (a *Authority) post(ctx context.Context, request []byte) (answer []byte, again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url.String(), bytes.NewReader(request))
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, true, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		again = resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests
		return nil, again, fmt.Errorf("it answered %s", resp.Status)
	}
	answer, err = io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err == nil && len(answer) > MaxAnswer {
		return nil, false, fmt.Errorf("its answer has more than %d bytes", MaxAnswer)
	}
	return answer, err != nil, err
}

// ParseCertificates reads the certificates that an authority is trusted by, in PEM: that
// of its root, of one between, or its own.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("read certificate: the PEM is of a %q, want \"CERTIFICATE\"", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("read certificate: it is no PEM")
	}
	return out, nil
}

// Check reads an answer that was kept, and wants it to be about message and signed by a
// certificate that one of trusted stands behind, valid at the time of the stamp. Where
// trusted is empty, by the one that came with it: then anybody can have made it.
// Whether a certificate was revoked is not looked at: that takes a network.
func Check(answer, message []byte, trusted []*x509.Certificate) (*Stamp, error) {
	return check(answer, message, trusted, nil)
}

func check(answer, message []byte, trusted []*x509.Certificate, nonce *big.Int) (s *Stamp, err error) {
	defer func() {
		if p := recover(); p != nil { // the parser of PKCS #7 is not made for an enemy's bytes
			s, err = nil, fmt.Errorf("it can not be read: %v", p)
		}
	}()
	got, err := timestamp.ParseResponse(answer)
	if err != nil {
		return nil, fmt.Errorf("it is no time stamp, or was changed: %w", err)
	}
	token, err := pkcs7.Parse(got.RawToken)
	if err != nil {
		return nil, fmt.Errorf("it is no time stamp: %w", err)
	}
	by, err := signedBy(token, trusted, got.Time)
	if err != nil {
		return nil, err
	}
	switch {
	case !imprints[got.HashAlgorithm]:
		return nil, fmt.Errorf("it is about a digest by %s, which is no proof", got.HashAlgorithm)
	case !bytes.Equal(got.HashedMessage, digest(got.HashAlgorithm, message)):
		return nil, errors.New("it is about other bytes")
	case nonce != nil && (got.Nonce == nil || got.Nonce.Cmp(nonce) != 0):
		return nil, errors.New("it answers another request: the nonce is not that of this one")
	}
	return &Stamp{Time: got.Time.UTC(), Accuracy: got.Accuracy, By: by.Subject.String(), Trusted: len(trusted) > 0}, nil
}

// imprints are the hash functions that a stamp may be about.
var imprints = map[crypto.Hash]bool{crypto.SHA256: true, crypto.SHA384: true, crypto.SHA512: true}

func digest(by crypto.Hash, message []byte) []byte {
	h := by.New()
	h.Write(message)
	return h.Sum(nil)
}

// signedBy checks a token's one signature, and what its certificate is for (RFC 3161,
// 2.3), and returns that.
func signedBy(token *pkcs7.PKCS7, trusted []*x509.Certificate, at time.Time) (*x509.Certificate, error) {
	by := token.GetOnlySigner()
	if by == nil {
		return nil, errors.New("the certificate that signed it is not with it")
	}
	if len(trusted) == 0 {
		trusted = []*x509.Certificate{by}
	}
	err := token.VerifyWithOpts(x509.VerifyOptions{Roots: pool(trusted), Intermediates: pool(token.Certificates), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	if err != nil {
		return nil, err
	}
	if by.IsCA || len(by.ExtKeyUsage)+len(by.UnknownExtKeyUsage) != 1 || !critical(by, purposes) {
		return nil, fmt.Errorf("the certificate of %s is not for time stamps alone", by.Subject)
	}
	return by, nil
}

func pool(list []*x509.Certificate) *x509.CertPool {
	out := x509.NewCertPool()
	for _, c := range list {
		out.AddCert(c)
	}
	return out
}

// purposes is the extension that says what a certificate is for.
var purposes = asn1.ObjectIdentifier{2, 5, 29, 37}

// critical says whether who does not know an extension MUST refuse the certificate.
func critical(c *x509.Certificate, id asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Critical && e.Id.Equal(id) })
}
