//go:build axle_break_exit

package proxy

// A sabotaged build, never shipped: see sabotage_exit_off.go.
const sabotageExit = true
