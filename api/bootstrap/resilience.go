package bootstrap

// Trait is what an endpoint has besides its address.
type Trait struct {
	// Endpoint is one of the cluster's, written alike.
	Endpoint string `json:"endpoint"`
	// Weight is its part of the requests, up to 65536; 0 means 1.
	Weight uint32 `json:"weight,omitempty"`
	// Zone that it is in.
	Zone string `json:"zone,omitempty"`
	// Unhealthy endpoints get requests only below the panic threshold.
	Unhealthy bool `json:"unhealthy,omitempty"`
}

// Balancing says which endpoint of a cluster takes a request.
type Balancing struct {
	// Policy is roundRobin (the default), leastRequest, peakEWMA, random, ringHash or maglev.
	Policy string `json:"policy,omitempty"`
	// Choices that leastRequest compares, 2 to 16; 0 means 2.
	Choices int `json:"choices,omitempty"`
	// TableSize is the least size of a ring (0 means 1024, up to 32768), or the size of a Maglev table, a prime (0 means 65537,
	// which is the largest).
	TableSize int `json:"tableSize,omitempty"`
	// Hash is what ringHash and maglev look at; none means the client's IP address.
	Hash []HashKey `json:"hash,omitempty"`
	// SlowStart lets endpoints that join begin with less.
	SlowStart *SlowStart `json:"slowStart,omitempty"`
	// ZoneAware keeps requests in node.zone as far as its endpoints can take its part of all requests.
	ZoneAware bool `json:"zoneAware,omitempty"`
	// MinEndpointsForZones is how many endpoints there have to be for that; 0 means 6.
	MinEndpointsForZones int `json:"minEndpointsForZones,omitempty"`
	// PanicThreshold is a percentage: when fewer endpoints are well, all get requests. Nil means 50; 0 never does that.
	PanicThreshold *int `json:"panicThreshold,omitempty"`
}

// HashKey is a part of what is hashed: exactly one of Header and SourceIP.
type HashKey struct {
	// Header as in Match.
	Header string `json:"header,omitempty"`
	// SourceIP is the client's IP address.
	SourceIP bool `json:"sourceIP,omitempty"`
	// Terminal ends the list when the request has this part.
	Terminal bool `json:"terminal,omitempty"`
}

// SlowStart lets the weight of an endpoint grow after it has joined.
type SlowStart struct {
	// Window is how long that takes ("30s").
	Window string `json:"window"`
	// Aggression above 1 gives more in the beginning; 0 means 1, which is linear.
	Aggression float64 `json:"aggression,omitempty"`
	// MinWeightPercent is what it begins with; 0 means 10.
	MinWeightPercent float64 `json:"minWeightPercent,omitempty"`
}

// Limits of a cluster, in the whole process; 0 means none. What is over one is answered with "server busy", or 503, or closed.
type Limits struct {
	MaxConnections     int `json:"maxConnections,omitempty"`
	MaxPendingRequests int `json:"maxPendingRequests,omitempty"`
	MaxRequests        int `json:"maxRequests,omitempty"`
	MaxRetries         int `json:"maxRetries,omitempty"`
	// High has limits of its own for requests of high priority; nil counts them with the others.
	High *HighLimits `json:"high,omitempty"`
}

// Outlier says which endpoints get no requests for a while because of how they have answered.
type Outlier struct {
	// Consecutive5xx failures of any kind; nil means 5, 0 does not count.
	Consecutive5xx *int `json:"consecutive5xx,omitempty"`
	// ConsecutiveGatewayFailure counts those without an application's answer; 0 does not count.
	ConsecutiveGatewayFailure int `json:"consecutiveGatewayFailure,omitempty"`
	// Interval between two looks at success rates; empty means 10 s.
	Interval string `json:"interval,omitempty"`
	// BaseEjectionTime times the number of ejections is how long one lasts; empty means 30 s.
	BaseEjectionTime string `json:"baseEjectionTime,omitempty"`
	// MaxEjectionTime bounds that; empty means 300 s.
	MaxEjectionTime string `json:"maxEjectionTime,omitempty"`
	// MaxEjectionPercent of the endpoints are ejected at a time; nil means 50.
	MaxEjectionPercent *int `json:"maxEjectionPercent,omitempty"`
	// AlwaysEjectOneHost allows one, whatever the percentage.
	AlwaysEjectOneHost bool `json:"alwaysEjectOneHost,omitempty"`
	// SuccessRate compares endpoints; nil does not.
	SuccessRate *SuccessRate `json:"successRate,omitempty"`
}

// SuccessRate ejects endpoints far below the mean of all.
type SuccessRate struct {
	// MinimumHosts with RequestVolume requests in an interval make a verdict; 0 means 5 and 100.
	MinimumHosts  int `json:"minimumHosts,omitempty"`
	RequestVolume int `json:"requestVolume,omitempty"`
	// StdevFactor standard deviations below the mean are too far; 0 means 1.9.
	StdevFactor float64 `json:"stdevFactor,omitempty"`
}

// HealthCheck asks every endpoint from time to time.
type HealthCheck struct {
	// Kind is tcp, http or bolt.
	Kind string `json:"kind"`
	// Interval between two checks; empty means 5 s. Jitter is added, up to this; empty means 1 s.
	Interval string `json:"interval,omitempty"`
	Jitter   string `json:"jitter,omitempty"`
	// Timeout of one; empty means 1 s.
	Timeout string `json:"timeout,omitempty"`
	// UnhealthyThreshold checks that fail make an endpoint unhealthy, HealthyThreshold good ones healthy; 0 means 3 and 2. The
	// first check decides alone.
	UnhealthyThreshold int `json:"unhealthyThreshold,omitempty"`
	HealthyThreshold   int `json:"healthyThreshold,omitempty"`
	// Path and Host of a GET; empty means / and the cluster's name. It has to be answered with a status from 200 to 299.
	Path string `json:"path,omitempty"`
	Host string `json:"host,omitempty"`
}
