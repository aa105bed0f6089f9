//go:build axle_break_drop

package proxy

// A sabotaged build, never shipped: one response in sabotageEvery is swallowed after a takeover.
// See sabotage_off.go for what the constants mean.
const (
	sabotageDrop  = true
	sabotageReset = false
	sabotageDup   = false
)

// sabotageEvery is how many responses go by for each that is dropped or doubled.
const sabotageEvery = 2000
