package http2

// What a peer makes this end do beyond carrying messages costs it something. A message that is sent and answered costs
// nothing, so that no well-behaved peer comes near the end of its budget.
const (
	maxBudget    = 20_000
	refill       = 5_000 // at each Relax
	costReset    = 20    // a request that is started and called off (CVE-2023-44487)
	costFault    = 20    // a stream that breaks the protocol
	costSettings = 50    // and costSmall for each setting: one may change the windows of all streams
	costPing     = 10
	costEmpty    = 5 // a frame of DATA without data or end, or a CONTINUATION
	costSmall    = 1
)

// What comes along with messages is earned by them: an endpoint that measures its bandwidth sends a small WINDOW_UPDATE and a
// PING with data that it reads (grpc-go does, once a round trip). Each frame of a message, either way, pays for as much; not
// for anything else, so that requests that are called off do not pay for themselves.
const (
	earnedByFrame = costPing + 2*costSmall
	maxEarned     = 256 * earnedByFrame
)

// smallWindow is the least increment of a window that costs nothing: answering tiny ones with tiny frames is expensive.
const smallWindow = 64

// expansion is what a header list of that size costs whose block has so many bytes. Who refers to each entry of the table once, and
// writes out the rest, pays nothing; who repeats a large entry has a few bytes make us copy, check and send very many.
func expansion(block, size int) int {
	const kilobyte = 1 << 10
	return max(size-2*block-2*tableSize, 0) / kilobyte * costSmall
}

// spend takes from the peer's budget.
func (c *Conn) spend(cost int) error {
	if c.budget -= cost; c.budget < 0 {
		return fault(EnhanceYourCalm, "too many frames that lead nowhere", "9113 10.5")
	}
	return nil
}

// earn notes a frame of a message, which has come or goes.
func (c *Conn) earn() { c.earned = min(c.earned+earnedByFrame, maxEarned) }

// accompany takes from what messages have earned, and then from the budget.
func (c *Conn) accompany(cost int) error {
	if c.earned >= cost {
		c.earned -= cost
		return nil
	}
	return c.spend(cost)
}

// Relax refills the peer's budget a bit. The owner, who has a clock, calls it once a second at most.
func (c *Conn) Relax() { c.budget = min(c.budget+refill, maxBudget) }
