package node

import (
	"errors"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
)

// ErrNoRegistry means that images have nowhere to go on the user's own cluster.
var ErrNoRegistry = errors.New("CLUSTER=existing also needs REGISTRY=host/path, where images are pushed and the cluster pulls them from")

// Existing uses the cluster of the current kubeconfig context, with images in
// the given registry. It prints the context to Out before anything is done.
func Existing(o Options, registry string) (*Cluster, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read context %q of the kubeconfig: %w", raw.CurrentContext, err)
	}
	fmt.Fprintf(o.Out, "using the existing cluster of context %q at %s\n", raw.CurrentContext, config.Host)
	if registry == "" {
		return nil, ErrNoRegistry
	}
	return &Cluster{options: o, existing: config, kubeconfig: rules.GetDefaultFilename(), registry: registry}, nil
}

// FromEnv returns the cluster that the environment asks for: the user's own
// with CLUSTER=existing (and REGISTRY), else ours, which is started if it is
// down. KUBECONFIG alone never selects a cluster.
func FromEnv(getenv func(string) string, o Options, up func(Options) (*Cluster, error)) (*Cluster, error) {
	switch choice := getenv("CLUSTER"); choice {
	case "existing":
		return Existing(o, getenv("REGISTRY"))
	case "", "local":
		return up(o)
	default:
		return nil, fmt.Errorf("CLUSTER=%q: want existing, local or nothing", choice)
	}
}
