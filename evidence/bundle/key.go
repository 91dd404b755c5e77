package bundle

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// Signer signs a manifest: a key in a file, or one that a key vault keeps. The first two
// are what the DSSE library asks for.
type Signer interface {
	// Sign returns the signature of data: of Ed25519 the plain one, of ECDSA that of
	// its SHA-256, in ASN.1.
	Sign(ctx context.Context, data []byte) ([]byte, error)
	// KeyID is the SHA-256 of the public key's PKIX form, in hex.
	KeyID() (string, error)
	// PEM is the public key, which checks what was signed.
	PEM() ([]byte, error)
}

// ParsePrivateKey reads an Ed25519 or ECDSA key in PEM: PKCS #8, or SEC 1. Both give
// the same signature for the same bytes each time (ECDSA by RFC 6979).
func ParsePrivateKey(data []byte) (Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("read private key: it is no PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("read private key: the PEM is of a %q, want \"PRIVATE KEY\" or \"EC PRIVATE KEY\"", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return &fileKey{k, crypto.Hash(0)}, nil
	case *ecdsa.PrivateKey:
		return &fileKey{k, crypto.SHA256}, nil
	default:
		return nil, fmt.Errorf("read private key: it is a %T, want Ed25519 or ECDSA", key)
	}
}

// fileKey signs with a key in memory.
type fileKey struct {
	key  crypto.Signer
	hash crypto.Hash // of what is signed; 0 is none
}

func (k *fileKey) Sign(_ context.Context, data []byte) ([]byte, error) {
	if k.hash == crypto.SHA256 {
		sum := sha256.Sum256(data)
		data = sum[:]
	}
	return k.key.Sign(nil, data, k.hash) // without a random source: deterministic
}

func (k *fileKey) PEM() ([]byte, error) {
	public, err := NewPublicKey(k.key.Public())
	if err != nil {
		return nil, err
	}
	return public.PEM()
}

func (k *fileKey) KeyID() (string, error) { return keyID(k.key.Public()) }

func keyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// PublicKey checks signatures.
type PublicKey struct {
	key crypto.PublicKey
	id  string
}

// ParsePublicKey reads an Ed25519 or ECDSA key in PEM: "PUBLIC KEY", as
// "openssl pkey -pubout" writes it.
func ParsePublicKey(data []byte) (*PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("read public key: it is no PEM")
	}
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("read public key: the PEM is of a %q, want \"PUBLIC KEY\"", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return NewPublicKey(key)
}

// NewPublicKey returns the key that checks signatures by an Ed25519 or ECDSA key.
func NewPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	switch key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, fmt.Errorf("read public key: it is a %T, want Ed25519 or ECDSA", key)
	}
	id, err := keyID(key)
	return &PublicKey{key, id}, err
}

// PEM is the key as [ParsePublicKey] and openssl read it.
func (k *PublicKey) PEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("write public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// KeyID is the SHA-256 of the key's PKIX form, in hex.
func (k *PublicKey) KeyID() (string, error) { return k.id, nil }

// Public is the key.
func (k *PublicKey) Public() crypto.PublicKey { return k.key }

// Verify returns an error where the signature is not that of data by this key.
func (k *PublicKey) Verify(_ context.Context, data, sig []byte) error {
	ok := false
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, data, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(key, sum[:], sig)
	}
	if !ok {
		return errors.New("the signature is not by this key, or not of these bytes")
	}
	return nil
}
