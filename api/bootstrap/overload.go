package bootstrap

// Overload says what the sidecar does when it is short of something. Its zero value has the defaults.
type Overload struct {
	// Disabled does nothing, whatever happens.
	Disabled bool `json:"disabled,omitempty"`
	// Interval between two looks ("1s"); empty means 1 s. It is a quarter when something is short, or nearly.
	Interval string `json:"interval,omitempty"`
	// MemoryBytes is what this process may have; 0 means memoryLimitBytes. A limit of its container counts in any case.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// Memory that is no garbage; the defaults are 70, 80, 82, 88 and 0.
	Memory *OverloadSteps `json:"memory,omitempty"`
	// Descriptors, of RLIMIT_NOFILE; the defaults are 80, 90, 95, 0 and 0.
	Descriptors *OverloadSteps `json:"descriptors,omitempty"`
	// CPU is the time of the busiest event loop; the defaults are 98 for ShedLow, and 0.
	CPU *OverloadSteps `json:"cpu,omitempty"`
}

// OverloadSteps are the percentages at which something is done, each 1 to 100, and none below the one before it; nil means the
// default, 0 never. What is done at one is done above it, too.
type OverloadSteps struct {
	// CloseIdle closes connections that have no request. It has no meaning for cpu, nor has RefuseClients.
	CloseIdle *int `json:"closeIdle,omitempty"`
	// RefuseClients refuses new ones.
	RefuseClients *int `json:"refuseClients,omitempty"`
	// ShedLow answers requests of low priority with an error, ShedDefault those of the default one, ShedHigh all.
	ShedLow     *int `json:"shedLow,omitempty"`
	ShedDefault *int `json:"shedDefault,omitempty"`
	ShedHigh    *int `json:"shedHigh,omitempty"`
}

// Adaptive finds out how many requests a cluster may have open, by how their latency grows. Zero values stand for defaults.
type Adaptive struct {
	// MinConcurrency and MaxConcurrency bound it; 0 means 4 and 1000.
	MinConcurrency int `json:"minConcurrency,omitempty"`
	MaxConcurrency int `json:"maxConcurrency,omitempty"`
	// Window is how long latencies are collected for one step ("100ms"); empty means 100 ms.
	Window string `json:"window,omitempty"`
	// Percentile of them that counts; 0 means 50.
	Percentile int `json:"percentile,omitempty"`
	// SlackPercent is how far it may be above the lowest one; 0 means 25.
	SlackPercent int `json:"slackPercent,omitempty"`
	// ProbeInterval is how often the lowest one is taken anew ("30s"); empty means 30 s.
	ProbeInterval string `json:"probeInterval,omitempty"`
}

// HighLimits are limits for requests of high priority, which then do not count in those for the others.
type HighLimits struct {
	MaxPendingRequests int `json:"maxPendingRequests,omitempty"`
	MaxRequests        int `json:"maxRequests,omitempty"`
	MaxRetries         int `json:"maxRetries,omitempty"`
}
