//go:build e2e

// Package kube runs a real API server with a real etcd for end-to-end tests, both built
// from e2e/components: "make e2e" puts them into .e2e/bin at the root of the repository.
// Without them a test fails.
package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/whichpod/whichpod/e2e/process"
)

// Programs is where "make e2e" puts what it builds, as a test of any package in e2e
// sees it.
const Programs = "../../.e2e/bin"

// Config says what the API server is to be.
type Config struct {
	// Address is where it listens, one of this machine's.
	Address string
	// Users are those who may sign in besides admin, each alone, or with a group after
	// an equals sign. Kubeconfig gives them what they sign in with.
	Users []string
	// Args are given to the API server besides the usual.
	Args []string
}

// ControlPlane is an API server with its etcd.
type ControlPlane struct {
	config         Config
	dir            string
	etcdPort, port int
	etcd, server   *process.Process
	serverLog      *process.Log
	client         *http.Client
}

// New starts both servers and waits until they are ready.
func New(t testing.TB, config Config) *ControlPlane {
	t.Helper()
	c := &ControlPlane{config: config, dir: t.TempDir(), etcdPort: freePort(t), port: freePort(t), serverLog: process.NewLog(t, "kube-apiserver")}
	process.Must(t, os.WriteFile(c.File("tokens.csv"), []byte(config.tokens()), 0o600))
	process.Must(t, writeKey(c.File("accounts.key")))
	c.startEtcd(t)
	c.StartServer(t, true)
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(c.File("certs/apiserver.crt"))
	process.Must(t, err)
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatal("the API server's certificate can not be read")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport, Timeout: process.Patience / 10}
	return c
}

// tokens is the file that tells the API server its users. Only admin has rights from
// the start: its group is above all rules.
func (c Config) tokens() string {
	out := "admin-token,admin,0,system:masters\n"
	for i, user := range c.Users {
		name, group, _ := strings.Cut(user, "=")
		out += fmt.Sprintf("%s,%s,%d,%s\n", token(name), name, i+1, group)
	}
	return out
}

// token is what a user signs in with: of "system:node:node-1" it is "node-1-token".
func token(user string) string { return user[strings.LastIndex(user, ":")+1:] + "-token" }

// File is the path of a file that belongs to the servers.
func (c *ControlPlane) File(name string) string { return filepath.Join(c.dir, name) }

// Port is where the API server listens.
func (c *ControlPlane) Port() int { return c.port }

// startEtcd starts etcd, which is never killed, so it need not reach the disk.
func (c *ControlPlane) startEtcd(t testing.TB) {
	t.Helper()
	peers, clients := fmt.Sprintf("http://127.0.0.1:%d", freePort(t)), c.EtcdURL()
	c.etcd = process.Start(t, process.NewLog(t, "etcd"), exec.Command(filepath.Join(Programs, "etcd"), "--data-dir", c.File("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls", clients, "--advertise-client-urls", clients, "--listen-peer-urls", peers,
		"--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers))
	process.Until(t, "etcd answers", func() bool {
		if !c.etcd.Alive() {
			t.Fatal("etcd ended")
		}
		_, err := c.Revision()
		return err == nil
	})
}

// StartServer starts the API server and waits until it is ready. With its watch cache
// (the default) it knows only what happened since it was started; without one, it
// knows what etcd knows.
func (c *ControlPlane) StartServer(t testing.TB, cached bool) {
	t.Helper()
	args := []string{"--etcd-servers", c.EtcdURL(), "--etcd-compaction-interval=0",
		"--secure-port", strconv.Itoa(c.port), "--bind-address", c.config.Address, "--cert-dir", c.File("certs"),
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/16",
		"--service-account-key-file", c.File("accounts.key"), "--service-account-signing-key-file", c.File("accounts.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--disable-admission-plugins=ServiceAccount",
		"--token-auth-file", c.File("tokens.csv"), "--authorization-mode=Node,RBAC"}
	if !cached {
		args = append(args, "--watch-cache-sizes=pods#0")
	}
	c.server = process.Start(t, c.serverLog, exec.Command(filepath.Join(Programs, "kube-apiserver"), append(args, c.config.Args...)...))
	insecure := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // its certificate is made at the first start
	defer insecure.CloseIdleConnections()
	client := &http.Client{Transport: insecure, Timeout: 10 * time.Second}
	process.Until(t, "the API server is ready", func() bool {
		if !c.server.Alive() {
			t.Fatal("the API server ended")
		}
		req, err := http.NewRequest(http.MethodGet, c.url(c.port)+"/readyz", nil)
		process.Must(t, err)
		req.Header.Set("Authorization", "Bearer "+token("admin"))
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

// StopServer ends the API server.
func (c *ControlPlane) StopServer(sig syscall.Signal) { c.server.EndIn(sig, drain) }

// Kubeconfig writes a file for one of the users, who reaches the API server at a port
// of its address, and returns its name.
func (c *ControlPlane) Kubeconfig(t testing.TB, user string, port int) string {
	t.Helper()
	name := c.File(fmt.Sprintf("%s-%d.kubeconfig", user, port))
	process.Must(t, os.WriteFile(name, fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: e2e
contexts: [{name: e2e, context: {cluster: e2e, user: e2e}}]
clusters: [{name: e2e, cluster: {server: "%s", certificate-authority: certs/apiserver.crt}}]
users: [{name: e2e, user: {token: %s}}]
`, c.url(port), token(user)), 0o600))
	return name
}

func (c *ControlPlane) url(port int) string {
	return fmt.Sprintf("https://%s:%d", c.config.Address, port)
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

// given are the ports that freePort returned: whoever is to have one may not listen yet.
var given = make(map[int]bool)

// freePort returns a port that nobody listens on, below the range of which systems
// take the ports of outgoing connections: it must still be free after a restart.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + mathrand.IntN(10000)
		if given[port] {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			l.Close()
			given[port] = true
			return port
		}
	}
	t.Fatal("found no free port between 20000 and 30000")
	return 0
}
