package azblob

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
)

// The account of the emulator and its key, which are the same everywhere and public:
// "Use the Azurite emulator", learn.microsoft.com/azure/storage/common/storage-use-azurite.
const (
	emulatorAccount = "devstoreaccount1"
	emulatorKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// place is where blobs are, without any secret.
type place struct {
	url                        string // of the account
	account, container, prefix string // container is empty for all of the account's
	emulator                   bool   // the account stands in the path
}

func (p place) String() string {
	if p.container == "" {
		return fmt.Sprintf("account %q", p.account)
	}
	return fmt.Sprintf("container %q of account %q", p.container, p.account)
}

// parseURL returns the place and the query, which may be a signature.
func parseURL(raw string) (place, string, error) {
	u, err := url.Parse(raw)
	if err != nil { // its text holds the URL, and with it perhaps a signature
		return place{}, "", errors.New("read container URL: it is not a URL")
	}
	shown := u.Scheme + "://" + u.Host + u.Path
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return place{}, "", fmt.Errorf("read container URL %q: want http or https, a host and no user", u.Scheme+"://"+u.Host)
	}
	var p place
	path := strings.TrimPrefix(u.Path, "/")
	base := u.Scheme + "://" + u.Host
	if labels := strings.Split(u.Hostname(), "."); isAccountHost(labels) {
		p.account = labels[0]
	} else {
		p.emulator = true
		p.account, path, _ = strings.Cut(path, "/")
		base += "/" + p.account
	}
	p.container, p.prefix, _ = strings.Cut(path, "/")
	if p.account == "" || p.container == "" && p.prefix != "" {
		return place{}, "", fmt.Errorf("read container URL %q: want https://ACCOUNT.blob.core.windows.net/CONTAINER or http://HOST/ACCOUNT/CONTAINER, or the same without a container", shown)
	}
	p.url = base + "/"
	return p, u.RawQuery, nil
}

// isAccountHost says whether a host is of the form ACCOUNT.blob.… or, behind a
// private endpoint, ACCOUNT.privatelink.blob.…: in national clouds, too.
func isAccountHost(labels []string) bool {
	for _, l := range labels[1:] {
		if l == "blob" {
			return true
		}
	}
	return false
}

// newClient picks the credentials. Nothing of them may reach an error.
func newClient(p place, query string, getenv func(string) string, options policy.ClientOptions) (*service.Client, error) {
	o := &service.ClientOptions{ClientOptions: options}
	if strings.Contains("&"+query, "&sig=") {
		return service.NewClientWithNoCredential(p.url+"?"+query, o)
	}
	key := ""
	if c := parseConnection(getenv("AZURE_STORAGE_CONNECTION_STRING")); c["accountname"] == p.account {
		if sas := strings.TrimPrefix(c["sharedaccesssignature"], "?"); sas != "" && c["accountkey"] == "" {
			return service.NewClientWithNoCredential(p.url+"?"+sas, o)
		}
		key = c["accountkey"]
	}
	if a := getenv("AZURE_STORAGE_ACCOUNT"); key == "" && (a == "" || a == p.account) {
		key = getenv("AZURE_STORAGE_KEY")
	}
	if key == "" && p.emulator && p.account == emulatorAccount {
		key = emulatorKey
	}
	if key != "" {
		cred, err := service.NewSharedKeyCredential(p.account, key)
		if err != nil {
			return nil, errors.New("the account's key is not base64")
		}
		return service.NewClientWithSharedKeyCredential(p.url, cred, o)
	}
	if strings.HasPrefix(p.url, "http://") {
		return nil, errors.New("no signature or key for it, and identities need https")
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("find a credential: %w", err)
	}
	return service.NewClient(p.url, cred, o)
}

// parseConnection splits a connection string, Key=Value;Key=Value, with its keys in
// lower case.
func parseConnection(s string) map[string]string {
	m := make(map[string]string)
	for part := range strings.SplitSeq(s, ";") {
		k, v, _ := strings.Cut(part, "=")
		m[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
	}
	if m["accountname"] == "" { // one with a signature may name only an endpoint
		if u, err := url.Parse(m["blobendpoint"]); err == nil {
			m["accountname"], _, _ = strings.Cut(u.Hostname(), ".")
		}
	}
	return m
}
