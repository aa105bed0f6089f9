//go:build axle_break_reset && !axle_break_drop

package proxy

// A sabotaged build, never shipped: one downstream connection is closed by each handover.
// See sabotage_off.go for what the constants mean.
const (
	sabotageDrop  = false
	sabotageReset = true
	sabotageDup   = false
)

// sabotageEvery is how many responses go by for each that is dropped or doubled.
const sabotageEvery = 2000
