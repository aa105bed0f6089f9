// Command cluster starts and ends a real one-node Kubernetes on this machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/axlemesh/axle/hack/cluster/binaries"
	"github.com/axlemesh/axle/hack/cluster/node"
	"github.com/axlemesh/axle/hack/image/oci"
)

const usage = `usage: go run ./hack/cluster [-name NAME] COMMAND

  up               start the cluster, or finish and repair it (builds and installs what is missing)
  down             end it and remove every trace
  status           say which processes run and whether the node is Ready
  kubeconfig       print the path of the administrator's kubeconfig
  registry         print the address of the image registry
  env              print KUBECONFIG, REGISTRY and PATH for a shell: eval "$(go run ./hack/cluster env)"
  load REF FILE    push an image archive (docker save, or an OCI layout folder) as REPOSITORY:TAG
  kubectl ARGS...  run the cluster's own kubectl on the host
  node CMD ARGS... run a command on the node, in its network and mount namespaces
  restart-kubelet  restart the kubelet and wait for the node
  assets           build what envtest needs and print its folder (KUBEBUILDER_ASSETS)
  tools            build all programs, helm too, and print their folder

CLUSTER=existing uses the current kubeconfig context instead; REGISTRY then says
where images go. KUBECONFIG alone never selects a cluster.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o node.Options
	flag.StringVar(&o.Name, "name", "default", "name of the cluster")
	flag.Usage = func() { fmt.Fprint(flag.CommandLine.Output(), usage) }
	flag.Parse()
	o.Out = os.Stderr
	err := run(ctx, o, flag.Args(), os.Stdout)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o node.Options, args []string, out io.Writer) error {
	if len(args) == 0 {
		flag.Usage()
		return errors.New("no command given")
	}
	switch command, rest := args[0], args[1:]; command {
	case "up":
		return up(ctx, o, out)
	case "down":
		return down(ctx, o)
	case "assets":
		return build(ctx, out, "envtest-"+binaries.KubernetesVersion, binaries.AssetPrograms())
	case "tools":
		return build(ctx, out, "tools-"+binaries.KubernetesVersion, append(binaries.NodePrograms(), "helm"))
	default:
		return use(ctx, o, command, rest, out)
	}
}

// use runs a command that needs a running cluster.
func use(ctx context.Context, o node.Options, command string, args []string, out io.Writer) error {
	c, err := node.FromEnv(os.Getenv, o, node.Open)
	if err != nil {
		return err
	}
	switch command {
	case "status":
		return status(ctx, c, out)
	case "kubeconfig":
		fmt.Fprintln(out, c.Kubeconfig())
	case "registry":
		fmt.Fprintln(out, c.Registry())
	case "env":
		fmt.Fprintf(out, "export KUBECONFIG=%q REGISTRY=%q\n", c.Kubeconfig(), c.Registry())
		if c.Owned() {
			fmt.Fprintf(out, "export PATH=%q:\"$PATH\"\n", c.Programs())
		}
	case "load":
		return load(ctx, c, args, out)
	case "restart-kubelet":
		return c.RestartKubelet(ctx)
	case "node":
		return onNode(ctx, c, args)
	case "kubectl":
		return kubectl(ctx, c, args)
	default:
		return fmt.Errorf("unknown command %q; without a command they are listed", command)
	}
	return nil
}

func up(ctx context.Context, o node.Options, out io.Writer) error {
	c, err := node.FromEnv(os.Getenv, o, func(o node.Options) (*node.Cluster, error) { return node.Up(ctx, o) })
	if err != nil || !c.Owned() {
		return err
	}
	fmt.Fprintf(out, "the cluster is up\n  export KUBECONFIG=%s\n  registry: %s\n", c.Kubeconfig(), c.Registry())
	return nil
}

func down(ctx context.Context, o node.Options) error {
	if os.Getenv("CLUSTER") == "existing" {
		return fmt.Errorf("down: %w", node.ErrNotOwned)
	}
	return node.Down(ctx, o)
}

func build(ctx context.Context, out io.Writer, name string, programs []string) error {
	dir, err := binaries.Builder{Out: os.Stderr}.Folder(ctx, name, programs...)
	if err == nil {
		fmt.Fprintln(out, dir)
	}
	return err
}

func status(ctx context.Context, c *node.Cluster, out io.Writer) error {
	if !c.Owned() {
		return nil // its context has been printed
	}
	records, err := c.Processes()
	if err != nil {
		return err
	}
	for _, r := range records {
		state := "ended"
		if r.Alive() {
			state = fmt.Sprintf("pid %d", r.PID)
		}
		fmt.Fprintf(out, "%-24s %s\n", r.Name, state)
	}
	fmt.Fprintf(out, "kubeconfig %s\nregistry   %s\n", c.Kubeconfig(), c.Registry())
	if err := c.Ready(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "node %s is Ready and DNS answers\n", c.Node())
	return nil
}

func load(ctx context.Context, c *node.Cluster, args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("load: want REPOSITORY:TAG and the archive's path")
	}
	image, err := oci.Load(args[1])
	if err != nil {
		return err
	}
	ref, err := oci.PushBuilt(ctx, c.Registry()+"/"+args[0], image)
	if err == nil {
		fmt.Fprintln(out, ref)
	}
	return err
}

func onNode(ctx context.Context, c *node.Cluster, args []string) error {
	if len(args) == 0 {
		return errors.New("node: want a command")
	}
	cmd, err := c.Command(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	return attached(cmd)
}

// kubectl runs on the host, where its arguments may name files and ports.
func kubectl(ctx context.Context, c *node.Cluster, args []string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(c.Programs(), "kubectl"), args...)
	if c.Owned() {
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	}
	return attached(cmd)
}

func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
