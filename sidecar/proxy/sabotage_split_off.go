//go:build !axle_break_split

package proxy

// sabotageSplit makes a process send every request of a split to the first cluster, whatever the weights are.
// It is false in every build that is shipped; see sabotage_off.go.
const sabotageSplit = false
