package podwatch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// LoadAPI reads how to reach an API server as kubectl does: from the file, else from
// KUBECONFIG or the home folder, else from the account of the pod it runs in.
func LoadAPI(kubeconfig, context string) (*rest.Config, error) {
	cfg, err := load(kubeconfig, context).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("read kubeconfig: no cluster in %s, and this is no pod with an account of its own", lookedIn())
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return cfg, nil
}

// lookedIn are the files in which a kubeconfig can be where none is named.
func lookedIn() string {
	var out []string
	for _, path := range clientcmd.NewDefaultClientConfigLoadingRules().Precedence {
		text := fmt.Sprintf("%q", path)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			text += " (no such file)"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

// LoadNamespace is the namespace that kubectl would use: the context's, else that of
// the pod it runs in, else "default".
func LoadNamespace(kubeconfig, context string) (string, error) {
	namespace, _, err := load(kubeconfig, context).Namespace()
	if err != nil {
		return "", fmt.Errorf("read kubeconfig: %w", err)
	}
	return namespace, nil
}

func load(kubeconfig, context string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: context})
}
