//go:build axle_break_dup && !axle_break_drop && !axle_break_reset

package proxy

// A sabotaged build, never shipped: one response in sabotageEvery is sent twice after a takeover.
// See sabotage_off.go for what the constants mean.
const (
	sabotageDrop  = false
	sabotageReset = false
	sabotageDup   = true
)

// sabotageEvery is how many responses go by for each that is dropped or doubled.
const sabotageEvery = 2000
