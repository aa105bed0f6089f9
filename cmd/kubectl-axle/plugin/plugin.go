// Package plugin is the command line of kubectl-axle: it reads from the cluster what package report decides on, prints what
// that says, and sends what it patches. Its flags for the cluster are kubectl's.
package plugin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/cmd/kubectl-axle/report"
)

// Options of the plugin.
type Options struct {
	// Out gets what the commands say. Errors are returned, not written.
	Out io.Writer
	// Clock tells how long ago things were.
	Clock clock.PassiveClock
	// Client to use instead of the one that the flags and the kubeconfig lead to; its current namespace is "default".
	Client client.Client
}

// shell is one run of the plugin.
type shell struct {
	Options
	kubeconfig        string
	overrides         clientcmd.ConfigOverrides
	operatorNamespace string
}

// New makes the root command.
func New(o Options) *cobra.Command {
	s := &shell{Options: o}
	root := &cobra.Command{
		Use:           "kubectl-axle",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl axle"},
		Short:         "See and steer the sidecars of Axle",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(o.Out)
	flags := root.PersistentFlags()
	flags.StringVar(&s.kubeconfig, "kubeconfig", "", "path of the kubeconfig file")
	clientcmd.BindOverrideFlags(&s.overrides, flags, clientcmd.RecommendedConfigOverrideFlags(""))
	flags.StringVar(&s.operatorNamespace, "operator-namespace", "axle-system", "namespace of the operator")
	root.AddCommand(s.status(), s.explain(), s.rollout())
	return root
}

func (s *shell) status() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status [FLEET]",
		Short: "Say how far the fleets and their pods are",
		Long: `Say how far the fleets are, or one of them: versions, counted pods, conditions, and each pod with its sidecar.

A fleet spans namespaces: its pods of all of them are listed, or with -n those of one. The counts are always the whole fleet's.`,
		Example: "  kubectl axle status\n  kubectl axle status default -n payments\n  kubectl axle status default -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "" && output != "json" && output != "yaml" {
				return fmt.Errorf("unknown output %q: there is json and yaml, and text without -o", output)
			}
			seen, err := s.readAll(cmd.Context())
			if err != nil {
				return err
			}
			status, err := seen.Status(args...)
			if err != nil {
				return err
			}
			return s.print(status, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml; text if empty")
	return cmd
}

func (s *shell) print(status *report.Status, output string) error {
	var raw []byte
	var err error
	switch output {
	case "json":
		raw, err = json.MarshalIndent(status, "", "  ")
		raw = append(raw, '\n')
	case "yaml":
		raw, err = yaml.Marshal(status)
	default:
		return status.WriteText(s.Out)
	}
	if err != nil {
		return fmt.Errorf("write the status as %s: %w", output, err)
	}
	_, err = s.Out.Write(raw)
	return err
}

func (s *shell) explain() *cobra.Command {
	return &cobra.Command{
		Use:     "explain POD",
		Short:   "Say everything about the sidecar of one pod, in sentences",
		Example: "  kubectl axle explain -n payments pay-7d9f-x2x",
		Args:    exactlyOne("pod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			seen, pod, err := s.readPod(cmd.Context(), strings.TrimPrefix(args[0], "pod/"))
			if err != nil {
				return err
			}
			return seen.Explain(s.Out, pod)
		},
	}
}

func exactlyOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("name the %s", what)
		case len(args) > 1:
			return fmt.Errorf("one %s, not %d: %s", what, len(args), strings.Join(args, " "))
		}
		return nil
	}
}

func (s *shell) rollout() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rollout", Short: "Pause, resume, promote, retry or undo the rollout of a fleet",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	steer := func(use, short, example string, decide func(*report.Cluster, *axlev1.SidecarFleet) (report.Change, error)) *cobra.Command {
		return &cobra.Command{
			Use: use + " FLEET", Short: short, Example: example,
			Args: cobra.MaximumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return s.change(cmd.Context(), args, decide) },
		}
	}
	var to string
	undo := steer("undo", "Bring a fleet back to the version that it ran before", "  kubectl axle rollout undo default\n  kubectl axle rollout undo default --to v1-0-0",
		func(c *report.Cluster, f *axlev1.SidecarFleet) (report.Change, error) { return c.Undo(f, to) })
	undo.Flags().StringVar(&to, "to", "", "SidecarVersion to go to; the fleet's status.currentVersion if empty")
	var full bool
	promote := steer("promote", "End the pause between two steps of a rollout before its time", "  kubectl axle rollout promote default\n  kubectl axle rollout promote default --full",
		func(_ *report.Cluster, f *axlev1.SidecarFleet) (report.Change, error) { return report.Promote(f, full) })
	promote.Flags().BoolVar(&full, "full", false, "end all pauses of this rollout, those that are to come as well")
	cmd.AddCommand(
		steer("pause", "Hold everything that changes a pod of a fleet", "  kubectl axle rollout pause default",
			func(_ *report.Cluster, f *axlev1.SidecarFleet) (report.Change, error) { return report.Pause(f) }),
		steer("resume", "Let a paused fleet go on", "  kubectl axle rollout resume default",
			func(_ *report.Cluster, f *axlev1.SidecarFleet) (report.Change, error) { return report.Resume(f) }),
		steer("retry", "Bring a version that has failed to the pods of a fleet once more", "  kubectl axle rollout retry default",
			func(_ *report.Cluster, f *axlev1.SidecarFleet) (report.Change, error) { return report.Retry(f) }),
		promote, undo,
	)
	return cmd
}

// pick returns the fleet that was named.
func pick(c *report.Cluster, args []string) (*axlev1.SidecarFleet, error) {
	if len(args) == 1 {
		return c.Fleet(args[0])
	}
	if len(c.Fleets) == 0 {
		return nil, errors.New("there is no SidecarFleet in this cluster")
	}
	return nil, fmt.Errorf("name the SidecarFleet: %s", strings.Join(c.FleetNames(), ", "))
}
