//go:build e2e

package kube

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/whichpod/whichpod/e2e/process"
)

// EtcdURL is where etcd listens for clients, its JSON gateway included.
func (c *ControlPlane) EtcdURL() string { return fmt.Sprintf("http://127.0.0.1:%d", c.etcdPort) }

// Revision is etcd's.
func (c *ControlPlane) Revision() (int64, error) {
	return c.askEtcd("range", fmt.Sprintf(`{"key":%q}`, base64.StdEncoding.EncodeToString([]byte("none"))))
}

// Put writes an empty key past the API server, and returns the revision of that.
func (c *ControlPlane) Put(key string) (int64, error) {
	return c.askEtcd("put", fmt.Sprintf(`{"key":%q}`, base64.StdEncoding.EncodeToString([]byte(key))))
}

// Compact makes etcd forget everything up to a revision.
func (c *ControlPlane) Compact(t testing.TB, revision int64) {
	t.Helper()
	_, err := c.askEtcd("compaction", fmt.Sprintf(`{"revision":"%d","physical":true}`, revision))
	process.Must(t, err)
}

func (c *ControlPlane) askEtcd(method, question string) (revision int64, err error) {
	client := &http.Client{Timeout: process.Patience / 10}
	resp, err := client.Post(c.EtcdURL()+"/v3/kv/"+method, "application/json", strings.NewReader(question))
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
