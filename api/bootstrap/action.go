package bootstrap

// Retry says when a request is sent again that has reached an endpoint: as long as all of it is here, and nothing of an
// answer has reached the client.
type Retry struct {
	// RetryOn lists reasons: "connect-failure", "reset", "gateway-error" (502 to 504), "5xx", "busy" (429 and 503; a Bolt server that
	// is busy). Bolt's statuses are taken for the HTTP status that means the same.
	RetryOn []string `json:"retryOn,omitempty"`
	// Statuses are further HTTP statuses to retry on.
	Statuses []int `json:"statuses,omitempty"`
	// AnyMethod retries what may do something twice, too: POST and PATCH, every RPC.
	AnyMethod bool `json:"anyMethod,omitempty"`
	// PerTry bounds each try ("200ms"); empty does not.
	PerTry string `json:"perTry,omitempty"`
	// Hedge waits on for a try that has taken PerTry, and sends another beside it; the first answer counts.
	Hedge bool `json:"hedge,omitempty"`
	// Backoff before the first retry, which doubles up to MaxBackoff; empty means 25ms, and ten times Backoff.
	Backoff    string `json:"backoff,omitempty"`
	MaxBackoff string `json:"maxBackoff,omitempty"`
	// BudgetPercent of the route's open requests may be retries, BudgetMin in any case; 0 means 20 and 3.
	BudgetPercent uint32 `json:"budgetPercent,omitempty"`
	BudgetMin     uint32 `json:"budgetMin,omitempty"`
}

// Fault spoils some requests on purpose.
type Fault struct {
	Delay *FaultDelay `json:"delay,omitempty"`
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay lets Numerator in Denominator requests wait; 100 when Denominator is 0.
type FaultDelay struct {
	Numerator   uint32 `json:"numerator"`
	Denominator uint32 `json:"denominator,omitempty"`
	Duration    string `json:"duration"`
}

// FaultAbort answers Numerator in Denominator requests with an HTTP status; 100 when Denominator is 0.
type FaultAbort struct {
	Numerator   uint32 `json:"numerator"`
	Denominator uint32 `json:"denominator,omitempty"`
	Status      int    `json:"status"`
}

// Limit is a token bucket: Burst at most, Tokens more in each Every; 1 when Tokens is 0, "1s" when Every is empty.
type Limit struct {
	Burst  uint32 `json:"burst"`
	Tokens uint32 `json:"tokens,omitempty"`
	Every  string `json:"every,omitempty"`
}

// Edit changes HTTP messages.
type Edit struct {
	Request  []Change `json:"request,omitempty"`
	Response []Change `json:"response,omitempty"`
	// Host replaces the request's.
	Host string `json:"host,omitempty"`
	// Path replaces Prefix where the path begins with that, and the whole path when Prefix is empty.
	Prefix string `json:"prefix,omitempty"`
	Path   string `json:"path,omitempty"`
}

// Change is a change of one header. Exactly one of Set, Add, Default and Remove names it.
type Change struct {
	Set     string `json:"set,omitempty"`     // replaces what is there
	Add     string `json:"add,omitempty"`     // adds one more
	Default string `json:"default,omitempty"` // adds one if there is none
	Remove  string `json:"remove,omitempty"`
	Value   string `json:"value,omitempty"`
}

// Redirect answers an HTTP request with another address. What is empty stays as it was asked for.
type Redirect struct {
	Scheme    string `json:"scheme,omitempty"`
	Host      string `json:"host,omitempty"`
	Port      uint16 `json:"port,omitempty"`
	Prefix    string `json:"prefix,omitempty"` // as in Edit
	Path      string `json:"path,omitempty"`
	DropQuery bool   `json:"dropQuery,omitempty"`
	// Status is 301, 302, 303, 307 or 308; 0 means 301.
	Status int `json:"status,omitempty"`
}

// Range has From in it, and To not.
type Range struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}
