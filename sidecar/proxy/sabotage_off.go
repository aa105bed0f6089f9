//go:build !axle_break_drop && !axle_break_reset && !axle_break_dup

package proxy

// The sabotage constants are false in every build that is shipped. A build with one of the tags axle_break_drop,
// axle_break_reset or axle_break_dup sets one of them, so that the demo, the storm and the e2e suite can prove
// that they fail when a sidecar loses something. Each is asked at exactly one place, and as an untyped constant it
// costs nothing there.
const (
	// sabotageDrop makes a process that took connections over swallow one response in sabotageEvery.
	sabotageDrop = false
	// sabotageReset makes a process close one of the downstream connections that a handover gave it.
	sabotageReset = false
	// sabotageDup makes a process that took connections over send one response in sabotageEvery twice.
	sabotageDup = false
)

// sabotageEvery is how many responses go by for each that is dropped or doubled: rare enough that nothing but
// counting every single request finds it.
const sabotageEvery = 2000
