package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/whichpod/whichpod/query"
)

// The manifest is an in-toto statement (https://in-toto.io/Statement/v1) in a DSSE
// envelope: the files with their digests, and a predicate of our own.
const (
	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	predicateType = "https://github.com/whichpod/whichpod/blob/main/docs/format/bundle.md#v1"
)

// maxManifest bounds what is read of a manifest, in bytes: a file takes about 150 of it.
const maxManifest = 16 << 20

type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name"` // path inside the bundle, with forward slashes
	Digest map[string]string `json:"digest"`
}

// predicate says which bundle it is, and what it is about.
type predicate struct {
	Name     string     `json:"name"`     // of the folder
	Sequence int64      `json:"sequence"` // from 1, without a hole
	Previous *Ref       `json:"previous"` // the bundle before it; null for the first
	Amends   *Ref       `json:"amends"`   // the bundle whose place it takes; null for most
	Reasons  []string   `json:"reasons"`  // of that, in sentences
	Since    query.Time `json:"since"`
	Until    query.Time `json:"until"`
	Rows     int64      `json:"rows"`
	Complete bool       `json:"complete"` // nothing is known to be missing
}

// Ref names a bundle by its folder and the SHA-256 of its manifest, in hex.
type Ref struct {
	Name   string `json:"name"`
	Digest string `json:"sha256"`
}

// sign returns the manifest's bytes.
func (s *statement) sign(ctx context.Context, key Signer) ([]byte, error) {
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	signer, err := dsse.NewEnvelopeSigner(key)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	envelope, err := signer.SignPayload(ctx, payloadType, body)
	if err != nil {
		return nil, fmt.Errorf("sign manifest: %w", err)
	}
	return encodeEnvelope(envelope)
}

func encodeEnvelope(e *dsse.Envelope) ([]byte, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return append(data, '\n'), nil
}

// openManifest checks a manifest's signature and returns what it states. Its bytes MUST
// be those that were signed and written: no other spelling of the same JSON passes.
func openManifest(ctx context.Context, data []byte, key *PublicKey) (*statement, error) {
	var envelope dsse.Envelope
	if err := json.Unmarshal(data, &envelope); err != nil {
		return nil, fmt.Errorf("it is no DSSE envelope: %w", err)
	}
	if envelope.PayloadType != payloadType {
		return nil, fmt.Errorf("its payload is a %q, want %q", envelope.PayloadType, payloadType)
	}
	again, err := encodeEnvelope(&envelope)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, data) {
		return nil, errors.New("its bytes are not as they were written")
	}
	verifier, err := dsse.NewEnvelopeVerifier(key)
	if err != nil {
		return nil, err
	}
	accepted, body, err := verifier.VerifyAndDecode(ctx, &envelope)
	if err != nil || len(accepted) != 1 || len(envelope.Signatures) != 1 {
		signed := "nobody"
		if len(envelope.Signatures) > 0 {
			signed = "the key " + envelope.Signatures[0].KeyID
		}
		return nil, fmt.Errorf("it is not signed by this key (%s): it names %s; either the key is another, or the manifest was changed", key.id, signed)
	}
	s, err := parseStatement(body)
	if err != nil {
		return nil, fmt.Errorf("its statement: %w", err)
	}
	return s, nil
}

func parseStatement(body []byte) (*statement, error) {
	var raw struct {
		statement
		Predicate struct {
			predicate
			Since *string `json:"since"`
			Until *string `json:"until"`
		} `json:"predicate"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, err
	}
	s := raw.statement
	s.Predicate = raw.Predicate.predicate
	var err1, err2 error
	s.Predicate.Since, err1 = moment(raw.Predicate.Since)
	s.Predicate.Until, err2 = moment(raw.Predicate.Until)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if s.Type != statementType || s.PredicateType != predicateType {
		return nil, fmt.Errorf("it is a %q about a %q, want %q about %q: a newer whichpod may know it", s.Type, s.PredicateType, statementType, predicateType)
	}
	return &s, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
