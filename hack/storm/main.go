// Command storm upgrades a sidecar many times in a row under load, as plain processes on loopback, and checks that none of
// its clients could notice: every request answered once and rightly, every connection the same socket as before, and
// nothing left behind in the last process that the first did not have.
//
//	go run ./hack/storm [-upgrades 50] [-connections 500]
//
// BREAK=drop|reset|dup builds a sidecar that loses something on purpose; the storm has to end in FAIL then.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// errFail says that the storm ran and found something; its line has been printed.
var errFail = errors.New("the storm found something")

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, errFail) {
			fmt.Fprintln(os.Stderr, "storm:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	cfg := Config{Now: time.Now, Out: os.Stdout, Break: os.Getenv("BREAK")}
	fs := flag.NewFlagSet("storm", flag.ContinueOnError)
	fs.IntVar(&cfg.Upgrades, "upgrades", 50, "upgrades in a row")
	fs.IntVar(&cfg.Connections, "connections", 500, "client connections")
	fs.Float64Var(&cfg.Rate, "rate", 2000, "requests per second in all; keep it under half of what the machine can do")
	fs.DurationVar(&cfg.Steady, "steady", 10*time.Second, "time before the first upgrade")
	fs.DurationVar(&cfg.Between, "between", 500*time.Millisecond, "time between two upgrades")
	fs.StringVar(&cfg.Sidecar, "sidecar", "", "sidecar binary; built from this tree when empty")
	fs.StringVar(&cfg.Other, "other", "", "another release's binary, which every second generation runs: upgrades there and back")
	fs.BoolVar(&cfg.Hedge, "hedge", false, "let one of two servers be slow for some requests, and this tree's sidecars hedge; those of -other only try again")
	fs.StringVar(&cfg.Source, "C", ".", "root of the source tree")
	fs.BoolVar(&cfg.Verbose, "v", false, "show what the sidecars log")
	if err := fs.Parse(args); err != nil {
		return err
	}
	v, err := Storm(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Println(v)
	if len(v.Why()) > 0 {
		return errFail
	}
	return nil
}
