package keyvault

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/whichpod/whichpod/evidence/bundle"
)

// vault answers Get Key and Sign as "Azure Key Vault keys REST API" (learn.microsoft.com)
// documents them, after the challenge for a token. It fails the test on any other
// request.
type vault struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	kty      string
	crv      string
	refuse   map[string]string // by operation: the body of a 403
	mangle   func([]byte) []byte
	resource string // in the challenge
	signed   []string
	servers  *httptest.Server
}

const host, version = "evidence.vault.azure.net", "9885aa558e8d448789683188f8c194b0"

func newVault(t *testing.T) *vault {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{t: t, key: key, kty: "EC-HSM", crv: "P-256", resource: "https://vault.azure.net", refuse: map[string]string{}, mangle: func(b []byte) []byte { return b }}
	v.servers = httptest.NewTLSServer(v)
	t.Cleanup(v.servers.Close)
	return v
}

// open opens a key of the vault, whose name leads to the test's server.
func (v *vault) open(identifier string) (*Key, error) {
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: v.servers.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, v.servers.Listener.Addr().String())
		},
	}
	v.t.Cleanup(transport.CloseIdleConnections)
	return open(v.t.Context(), identifier, token{v.t}, policy.ClientOptions{Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1}})
}

// token is a credential of the tenant and the scope that the challenge names.
type token struct{ t *testing.T }

func (c token) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != "https://vault.azure.net/.default" || o.TenantID != "11111111-2222-3333-4444-555555555555" {
		c.t.Errorf("token for %q of %q", o.Scopes, o.TenantID)
	}
	return azcore.AccessToken{Token: "TOKEN", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		v.t.Error(err)
	}
	if r.Host != host || r.URL.Query().Get("api-version") == "" {
		v.t.Errorf("request to %s: %s", r.Host, r.URL)
	}
	if r.Header.Get("Authorization") != "Bearer TOKEN" {
		if len(body) > 0 {
			v.t.Errorf("a body before the challenge: %s", body)
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555", resource=%q`, v.resource))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	operation := "get"
	if r.Method == http.MethodPost {
		operation = "sign"
	}
	w.Header().Set("Content-Type", "application/json")
	if refusal := v.refuse[operation]; refusal != "" {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, refusal)
		return
	}
	id := "https://" + host + "/keys/bundles/" + version
	switch r.Method + " " + r.URL.Path {
	case "GET /keys/bundles/", "GET /keys/bundles", "GET /keys/bundles/" + version:
		point, err := v.key.PublicKey.Bytes()
		if err != nil {
			v.t.Error(err)
		}
		v.answer(w, map[string]any{"key": map[string]any{"kid": id, "kty": v.kty, "crv": v.crv, "key_ops": []string{"sign", "verify"},
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:])},
			"attributes": map[string]any{"enabled": true}})
	case "POST /keys/bundles/" + version + "/sign":
		var ask struct{ Alg, Value string }
		if err := json.Unmarshal(body, &ask); err != nil || ask.Alg != "ES256" {
			v.t.Errorf("asked to sign %s, error %v", body, err)
		}
		digest, err := base64.RawURLEncoding.DecodeString(ask.Value)
		if err != nil || len(digest) != 32 {
			v.t.Errorf("digest %q, error %v", ask.Value, err)
		}
		rr, s, err := ecdsa.Sign(rand.Reader, v.key, digest)
		if err != nil {
			v.t.Error(err)
		}
		v.signed = append(v.signed, ask.Value)
		v.answer(w, map[string]any{"kid": id, "value": base64.RawURLEncoding.EncodeToString(v.mangle(append(rr.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)))})
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":{"code":"KeyNotFound","message":"A key with (name/id) none was not found in this key vault."}}`)
	}
}

func (v *vault) answer(w io.Writer, what any) {
	if err := json.NewEncoder(w).Encode(what); err != nil {
		v.t.Error(err)
	}
}

// What the vault signs, the DSSE library accepts by the public key in PEM: many times,
// for r and s may begin with zeros.
func TestSign(t *testing.T) {
	v := newVault(t)
	for _, identifier := range []string{"https://" + host + "/keys/bundles", "https://" + host + "/keys/bundles/" + version} {
		k, err := v.open(identifier)
		if err != nil {
			t.Fatal(err)
		}
		text, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		public, err := bundle.ParsePublicKey(text)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := dsse.NewEnvelopeSigner(k)
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := dsse.NewEnvelopeVerifier(public)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			e, err := signer.SignPayload(t.Context(), "text/plain", fmt.Append(nil, i))
			if err != nil {
				t.Fatal(err)
			}
			id, err := public.KeyID()
			if err != nil || e.Signatures[0].KeyID != id {
				t.Fatalf("key %s, error %v", e.Signatures[0].KeyID, err)
			}
			if _, err := verifier.Verify(t.Context(), e); err != nil {
				t.Fatalf("signature %d: %v", i, err)
			}
		}
	}
	if len(v.signed) != 600 {
		t.Errorf("%d signatures", len(v.signed))
	}
}

func TestErrors(t *testing.T) {
	const identifier = "https://" + host + "/keys/bundles"
	refused := func(inner string) string {
		return `{"error":{"code":"Forbidden","message":"Caller is not authorized","innererror":{"code":"` + inner + `"}}}`
	}
	for _, tc := range []struct {
		name, identifier string
		change           func(*vault)
		want             string
	}{
		{"no right to get", identifier, func(v *vault) { v.refuse["get"] = refused("ForbiddenByPolicy") }, `get with key "bundles" of vault "evidence.vault.azure.net": access denied (403 ForbiddenByPolicy): want the permission keys/get`},
		{"no right to sign", identifier, func(v *vault) { v.refuse["sign"] = refused("ForbiddenByRbac") }, `want the permission keys/sign, as the role Key Vault Crypto User`},
		{"firewall", identifier, func(v *vault) { v.refuse["get"] = refused("ForbiddenByFirewall") }, "firewall"},
		{"refused without a reason", identifier, func(v *vault) { v.refuse["sign"] = `{"error":{"code":"Forbidden"}}` }, "(403 Forbidden)"},
		{"no such key", "https://" + host + "/keys/none", nil, "there is no such key"},
		{"another kind", identifier, func(v *vault) { v.kty, v.crv = "RSA", "" }, "type RSA"},
		{"another curve", identifier, func(v *vault) { v.crv = "P-384" }, "curve P-384, want EC or EC-HSM and P-256"},
		{"short signature", identifier, func(v *vault) { v.mangle = func(b []byte) []byte { return b[:63] } }, "63 bytes, want 64"},
		{"wrong signature", identifier, func(v *vault) { v.mangle = func(b []byte) []byte { b[5]++; return b } }, "not by this key"},
		{"a challenge for another service", identifier, func(v *vault) { v.resource = "https://evil.example" }, "evil.example"},
		{"secret", "https://" + host + "/secrets/x", nil, "want https://VAULT.vault.azure.net/keys/NAME"},
		{"no key", "https://" + host + "/keys/", nil, "want https://VAULT"},
		{"plain", "http://" + host + "/keys/bundles", nil, "want https://VAULT"},
		{"query", identifier + "?x", nil, "want https://VAULT"},
	} {
		v := newVault(t)
		if tc.change != nil {
			tc.change(v)
		}
		k, err := v.open(tc.identifier)
		if err == nil {
			_, err = k.Sign(t.Context(), []byte("x"))
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "TOKEN") {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
		var e *Error
		if strings.HasPrefix(tc.name, "no right") && (!errors.As(err, &e) || e.Status != http.StatusForbidden) {
			t.Errorf("%s: got %#v", tc.name, e)
		}
	}
}
