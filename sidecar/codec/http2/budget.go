package http2

// What a peer makes this end do beyond carrying messages costs it something. A message that is sent and answered costs
// nothing, so that no well-behaved peer comes near the end of its budget.
const (
	maxBudget    = 20_000
	refill       = 5_000 // at each Relax
	costReset    = 20    // a request that is started and called off (CVE-2023-44487)
	costFault    = 20    // a stream that breaks the protocol
	costSettings = 50
	costPing     = 10
	costEmpty    = 5 // a frame of DATA without data or end, or a CONTINUATION
	costSmall    = 1
)

// smallWindow is the least increment of a window that costs nothing: answering tiny ones with tiny frames is expensive.
const smallWindow = 64

// spend takes from the peer's budget.
func (c *Conn) spend(cost int) error {
	if c.budget -= cost; c.budget < 0 {
		return fault(EnhanceYourCalm, "too many frames that lead nowhere", "9113 10.5")
	}
	return nil
}

// Relax refills the peer's budget a bit. The owner, who has a clock, calls it once a second at most.
func (c *Conn) Relax() { c.budget = min(c.budget+refill, maxBudget) }
