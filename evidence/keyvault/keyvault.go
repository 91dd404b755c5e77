// Package keyvault signs with a key that Azure Key Vault, or a managed HSM, keeps: the
// private key never leaves it.
//
// In: a key's identifier, and whatever Azure's default credential finds. Out: a
// [bundle.Signer]. It sends Get Key once and Sign for each signature. A Key is safe for
// concurrent use.
package keyvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/whichpod/whichpod/evidence/bundle"
)

// Key signs with one version of a key on the curve P-256.
type Key struct {
	*bundle.PublicKey
	client        *azkeys.Client
	vault         string // host
	name, version string
}

var _ bundle.Signer = (*Key)(nil)

// Open asks for the key of an identifier, as the portal shows it:
//
//	https://VAULT.vault.azure.net/keys/NAME[/VERSION]
//
// Without a version it is the newest one of now; all signatures are by that one.
func Open(ctx context.Context, identifier string) (*Key, error) {
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("open key: find a credential: %w", err)
	}
	return open(ctx, identifier, cred, policy.ClientOptions{Retry: policy.RetryOptions{MaxRetries: 4, RetryDelay: 250 * time.Millisecond}})
}

func open(ctx context.Context, identifier string, cred azcore.TokenCredential, o policy.ClientOptions) (*Key, error) {
	k, err := parse(identifier)
	if err != nil {
		return nil, err
	}
	if k.client, err = azkeys.NewClient("https://"+k.vault, cred, &azkeys.ClientOptions{ClientOptions: o}); err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	got, err := k.client.GetKey(ctx, k.name, k.version, nil)
	if err != nil {
		return nil, k.failed("get", err)
	}
	if got.Key == nil || got.Key.KID == nil {
		return nil, fmt.Errorf("open %s: the answer has no key", k)
	}
	k.version = got.Key.KID.Version()
	public, err := publicKey(got.Key)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", k, err)
	}
	k.PublicKey, err = bundle.NewPublicKey(public)
	return k, err
}

func parse(identifier string) (*Key, error) {
	u, err := url.Parse(identifier)
	if err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		parts := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
		if len(parts) == 2 {
			parts = append(parts, "")
		}
		if len(parts) == 3 && parts[0] == "keys" && parts[1] != "" {
			return &Key{vault: u.Host, name: parts[1], version: parts[2]}, nil
		}
	}
	return nil, fmt.Errorf("open key %q: want https://VAULT.vault.azure.net/keys/NAME or …/NAME/VERSION", identifier)
}

// publicKey reads an elliptic curve key of RFC 7517.
func publicKey(key *azkeys.JSONWebKey) (*ecdsa.PublicKey, error) {
	kind, curve := "none", "none"
	if key.Kty != nil {
		kind = string(*key.Kty)
	}
	if key.Crv != nil {
		curve = string(*key.Crv)
	}
	if !strings.HasPrefix(kind, "EC") || curve != "P-256" {
		return nil, fmt.Errorf("it is a key of type %s and curve %s, want EC or EC-HSM and P-256", kind, curve)
	}
	if len(key.X) > 32 || len(key.Y) > 32 {
		return nil, errors.New("its coordinates are longer than 32 bytes")
	}
	point := make([]byte, 65) // uncompressed: 4, X, Y
	point[0] = 4
	copy(point[33-len(key.X):33], key.X)
	copy(point[65-len(key.Y):], key.Y)
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func (k *Key) String() string { return fmt.Sprintf("key %q of vault %q", k.name, k.vault) }

// Sign implements [bundle.Signer]. Two signatures of the same bytes differ.
func (k *Key) Sign(ctx context.Context, data []byte) ([]byte, error) {
	sum, alg := sha256.Sum256(data), azkeys.SignatureAlgorithmES256
	got, err := k.client.Sign(ctx, k.name, k.version, azkeys.SignParameters{Algorithm: &alg, Value: sum[:]}, nil)
	if err != nil {
		return nil, k.failed("sign", err)
	}
	sig, err := toASN1(got.Result)
	if err == nil {
		err = k.Verify(ctx, data, sig)
	}
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k, err)
	}
	return sig, nil
}

// toASN1 turns the signature of RFC 7518, r and s of 32 bytes each, into the one that
// verifiers of DSSE read.
func toASN1(raw []byte) ([]byte, error) {
	if len(raw) != 64 {
		return nil, fmt.Errorf("the signature has %d bytes, want 64", len(raw))
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])})
}

// Error is a request that the vault refused.
type Error struct {
	Key, Operation string
	Status         int
	Code           string // the service's, the inner one where there is one
}

func (e *Error) Error() string {
	at := e.Operation + " with " + e.Key
	switch {
	case e.Code == "ForbiddenByFirewall" || e.Code == "ForbiddenByConnection":
		return fmt.Sprintf("%s: access denied (%d %s): the vault's firewall does not let this network in", at, e.Status, e.Code)
	case e.Status == http.StatusForbidden:
		return fmt.Sprintf("%s: access denied (%d %s): want the permission keys/%s, as the role Key Vault Crypto User has it", at, e.Status, e.Code, e.Operation)
	case e.Status == http.StatusUnauthorized:
		return fmt.Sprintf("%s: access denied (%d %s): the vault does not accept this identity", at, e.Status, e.Code)
	case e.Status == http.StatusNotFound:
		return at + ": there is no such key"
	}
	return fmt.Sprintf("%s: the vault answered %d %s", at, e.Status, e.Code)
}

func (k *Key) failed(operation string, err error) error {
	var resp *azcore.ResponseError
	if !errors.As(err, &resp) {
		return fmt.Errorf("%s with %s: %w", operation, k, err)
	}
	e := &Error{Key: k.String(), Operation: operation, Status: resp.StatusCode, Code: resp.ErrorCode}
	var body struct {
		Error struct {
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if data, err := runtime.Payload(resp.RawResponse); err == nil && json.Unmarshal(data, &body) == nil && body.Error.Inner.Code != "" {
		e.Code = body.Error.Inner.Code
	}
	return e
}
