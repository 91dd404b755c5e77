//go:build e2e

package node_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/rig"
)

// The users of the API server, by token.
const tokens = `admin-token,admin,1,system:masters
node-token,system:node:node-1,2,system:nodes
`

// The API server's address is in the internet, as AKS' own is: the VNet has it.
const (
	apiAddress = "198.51.100.10"
	apiURL     = "https://" + apiAddress + ":6443"
)

// controlPlane is an API server with its etcd.
type controlPlane struct {
	dir    string
	client *http.Client
}

// newControlPlane starts both servers in the VNet and waits until they are ready.
func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	c := &controlPlane{dir: t.TempDir()}
	rig.VNet.Do(t, "ip addr add "+apiAddress+"/32 dev lo")
	rig.Must(t, os.WriteFile(c.file("tokens.csv"), []byte(tokens), 0o600))
	rig.Must(t, writeKey(c.file("accounts.key")))
	const clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	rig.VNet.Start(t, nil, filepath.Join(servers, "etcd"), "--data-dir", c.file("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls", clients, "--advertise-client-urls", clients, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	policy, err := filepath.Abs("testdata/audit-policy.yaml")
	rig.Must(t, err)
	server := rig.VNet.Start(t, nil, filepath.Join(servers, "kube-apiserver"), "--etcd-servers", clients,
		"--secure-port=6443", "--bind-address", apiAddress, "--cert-dir", c.file("certs"), "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file", c.file("accounts.key"), "--service-account-signing-key-file", c.file("accounts.key"),
		"--disable-admission-plugins=ServiceAccount", "--token-auth-file", c.file("tokens.csv"), "--authorization-mode=Node,RBAC",
		"--audit-policy-file", policy, "--audit-log-path", c.file("audit.log"))
	c.client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // for now
	rig.Until(t, "the API server is ready", func() bool {
		if !server.Alive() {
			t.Fatal("the API server ended")
		}
		return c.send(http.MethodGet, "/api/v1/namespaces/default", nil, nil) == nil
	})
	certificate, err := os.ReadFile(c.file("certs/apiserver.crt"))
	rig.Must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	c.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 16}
	return c
}

func (c *controlPlane) file(name string) string { return filepath.Join(c.dir, name) }

// kubeconfig writes a file for one of the users and returns its name.
func (c *controlPlane) kubeconfig(t *testing.T, user string) string {
	t.Helper()
	name := c.file(user + ".kubeconfig")
	rig.Must(t, os.WriteFile(name, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: %s}}]
clusters: [{name: e2e, cluster: {server: "%s", certificate-authority: certs/apiserver.crt}}]
users: [{name: %[1]s, user: {token: %[1]s-token}}]
`, user, apiURL), 0o600))
	return name
}

// writeKey makes the key that signs service accounts' tokens. None is ever used.
func writeKey(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// statusError is an answer that is no success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the API server says %d: %s", e.code, e.text)
}

func isStatus(err error, code int) bool {
	var s *statusError
	return errors.As(err, &s) && s.code == code
}

// send sends a request of the admin and reads the answer into out, which may be nil.
func (c *controlPlane) send(method, path string, body, out any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(context.Background(), method, apiURL+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer admin-token")
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return &statusError{resp.StatusCode, string(data)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}
