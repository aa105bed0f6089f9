//go:build axle_break_split

package proxy

// A sabotaged build, never shipped: see sabotage_split_off.go.
const sabotageSplit = true
