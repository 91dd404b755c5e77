//go:build e2e

package watch_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The users of the API server, by token. Only admin has rights from the start: its
// group is above all rules.
const tokens = `admin-token,admin,1,system:masters
nobody-token,nobody,2
lister-token,lister,3
watcher-token,watcher,4
`

// cluster is an API server with its etcd, and no nodes.
type cluster struct {
	dir             string
	etcdPort, port  int
	etcd, apiserver *process
	etcdLog, apiLog *logFile
	client          *http.Client
	args            []string // of the API server, besides the usual
}

// newCluster starts both servers and waits until they are ready.
func newCluster(t *testing.T, args ...string) *cluster {
	t.Helper()
	c := &cluster{dir: t.TempDir(), etcdPort: freePort(t), port: freePort(t), etcdLog: newLog(t, "etcd"), apiLog: newLog(t, "kube-apiserver"), args: args}
	must(t, os.WriteFile(c.file("tokens.csv"), []byte(tokens), 0o600))
	must(t, writeKey(c.file("accounts.key")))
	peers := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	clients := fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort)
	// etcd itself is never killed, so it need not reach the disk.
	c.etcd = start(t, c.etcdLog, filepath.Join(servers, "etcd"), "--data-dir", c.file("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls", clients, "--advertise-client-urls", clients, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers)
	until(t, "etcd answers", func() bool {
		if !c.etcd.alive() {
			t.Fatal("etcd ended")
		}
		_, err := c.revision()
		return err == nil
	})
	c.startServer(t, true)
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(c.file("certs/apiserver.crt"))
	must(t, err)
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("the API server's certificate can not be read")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport, Timeout: patience / 10}
	return c
}

func (c *cluster) file(name string) string { return filepath.Join(c.dir, name) }

func (c *cluster) url() string { return fmt.Sprintf("https://127.0.0.1:%d", c.port) }

// startServer starts the API server and waits until it is ready. With its watch
// cache (the default) it knows only what happened since it was started; without one,
// it knows what etcd knows.
func (c *cluster) startServer(t *testing.T, cached bool) {
	t.Helper()
	args := []string{"--etcd-servers", fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort), "--etcd-compaction-interval=0",
		"--secure-port", strconv.Itoa(c.port), "--bind-address=127.0.0.1", "--cert-dir", c.file("certs"),
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/16",
		"--service-account-key-file", c.file("accounts.key"), "--service-account-signing-key-file", c.file("accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--disable-admission-plugins=ServiceAccount",
		"--token-auth-file", c.file("tokens.csv"), "--authorization-mode=RBAC"}
	if !cached {
		args = append(args, "--watch-cache-sizes=pods#0")
	}
	c.apiserver = start(t, c.apiLog, filepath.Join(servers, "kube-apiserver"), append(args, c.args...)...)
	insecure := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // its certificate is made at the first start
	defer insecure.CloseIdleConnections()
	client := &http.Client{Transport: insecure, Timeout: 10 * time.Second}
	until(t, "the API server is ready", func() bool {
		if !c.apiserver.alive() {
			t.Fatal("the API server ended")
		}
		req, err := http.NewRequest(http.MethodGet, c.url()+"/readyz", nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer admin-token")
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// drain is how long an API server that is asked to stop is waited for: it goes on for
// half a minute and more, but takes no requests.
const drain = 2 * time.Second

// restartServer ends the API server and starts it on the same etcd.
func (c *cluster) restartServer(t *testing.T, sig syscall.Signal, cached bool) {
	t.Helper()
	c.apiserver.end(sig, drain)
	c.startServer(t, cached)
}

// kubeconfig writes a file for one of the users, who reaches the API server at a port
// of loopback, and returns its name.
func (c *cluster) kubeconfig(t *testing.T, user string, port int) string {
	t.Helper()
	name := c.file(fmt.Sprintf("%s-%d.kubeconfig", user, port))
	must(t, os.WriteFile(name, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: %s}}]
clusters: [{name: e2e, cluster: {server: "https://127.0.0.1:%d", certificate-authority: certs/apiserver.crt}}]
users: [{name: %[1]s, user: {token: %[1]s-token}}]
`, user, port), 0o600))
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

// revision is etcd's, through its JSON gateway.
func (c *cluster) revision() (int64, error) {
	return c.askEtcd("range", fmt.Sprintf(`{"key":%q}`, base64.StdEncoding.EncodeToString([]byte("none"))))
}

// compact makes etcd forget everything up to a revision.
func (c *cluster) compact(t *testing.T, revision int64) {
	t.Helper()
	_, err := c.askEtcd("compaction", fmt.Sprintf(`{"revision":"%d","physical":true}`, revision))
	must(t, err)
}

func (c *cluster) askEtcd(method, question string) (revision int64, err error) {
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Post(fmt.Sprintf("http://127.0.0.1:%d/v3/kv/%s", c.etcdPort, method), "application/json", bytes.NewReader([]byte(question)))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("etcd says to %s %s: %s: %s", method, question, resp.Status, body)
	}
	var answer struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Header.Revision, err
}

// request is one write to the API, or a read.
type request struct {
	method, path string
	kind         string // the media type of the body
	body         any
	token        string // empty is admin's
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

// once sends a request and reads the answer into out, which may be nil.
func (c *cluster) once(ctx context.Context, r request, out any) error {
	body, err := json.Marshal(r.body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.url()+r.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	token := r.token
	if token == "" {
		token = "admin-token"
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
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

// send repeats a request until the API server, which may be away, has decided it.
func (c *cluster) send(ctx context.Context, r request, out any) error {
	for {
		err := c.once(ctx, r, out)
		var s *statusError
		if err == nil || ctx.Err() != nil || (errors.As(err, &s) && s.code < 500 && s.code != http.StatusTooManyRequests) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// podUIDs are the pods that the API server has now.
func (c *cluster) podUIDs(ctx context.Context) (map[string]bool, error) {
	var list struct {
		Items []struct {
			Metadata struct {
				UID string `json:"uid"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := c.send(ctx, request{method: http.MethodGet, path: "/api/v1/pods"}, &list); err != nil {
		return nil, err
	}
	uids := make(map[string]bool)
	for i := range list.Items {
		uids[list.Items[i].Metadata.UID] = true
	}
	return uids, nil
}
