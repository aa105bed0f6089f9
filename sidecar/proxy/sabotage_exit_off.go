//go:build !axle_break_exit

package proxy

// sabotageExit makes a candidate end at the first batch of connections that it is offered.
// It is false in every build that is shipped; see sabotage_off.go.
const sabotageExit = false
