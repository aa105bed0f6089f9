// Package bootstrap is the contract between the injector, which writes it, and the sidecar, which reads it:
// who this sidecar is, whom it asks, and, without Kubernetes, what it serves.
//
// In a pod it is JSON in the environment variable named by Env; standalone it is a YAML or JSON file.
package bootstrap

// Env names the environment variable that carries a Bootstrap as JSON.
const Env = "AXLE_BOOTSTRAP"

// JoinTokenEnv names the environment variable with the single-use join token of an in-place sidecar.
const JoinTokenEnv = "AXLE_JOIN_TOKEN"

// Defaults that Bootstrap.Defaulted fills in.
const (
	DefaultAdminAddress   = "127.0.0.1:13331"
	DefaultMeshAPIAddress = "127.0.0.1:13330"
	// DefaultHandoverSocket is an abstract Unix socket in the pod's network namespace.
	DefaultHandoverSocket = "@axle/handover"
)

// Bootstrap is everything a sidecar knows before it has talked to anyone.
type Bootstrap struct {
	// Node says who this sidecar is.
	Node Node `json:"node"`
	// Operator is where configuration comes from; nil means that Static is all there is.
	Operator *Operator `json:"operator,omitempty"`
	// Admin is the loopback address of health, metrics and config dump.
	Admin string `json:"admin,omitempty"`
	// MeshAPI is the loopback address that SDKs and cooperating clients ask.
	MeshAPI string `json:"meshAPI,omitempty"`
	// Handover says where generations meet.
	Handover Handover `json:"handover"`
	// Slot is set in a pod that was created with slots; nil in place and standalone.
	Slot *Slot `json:"slot,omitempty"`
	// Loops is the number of event loops; 0 means 1 in place and min(2, CPUs) otherwise.
	Loops int `json:"loops,omitempty"`
	// MemoryLimitBytes is what GOMEMLIMIT is set to; 0 leaves the runtime's default. A quarter of it bounds what large frames may
	// hold; with 0 a quarter of what its group may have, or the machine has.
	MemoryLimitBytes int64 `json:"memoryLimitBytes,omitempty"`
	// Overload says what is left out when the sidecar is short of something; nil means the defaults.
	Overload *Overload `json:"overload,omitempty"`
	// TerminationGraceSeconds is how long the pod may take to end after SIGTERM, as its spec says; 0 means 30. In place
	// SIGTERM comes at once on pod deletion, and the sidecar serves on for nearly as long.
	TerminationGraceSeconds int64 `json:"terminationGraceSeconds,omitempty"`
	// Tracing exports the spans of requests; nil exports none.
	Tracing *Tracing `json:"tracing,omitempty"`
	// AccessLog logs requests; nil logs none.
	AccessLog *AccessLog `json:"accessLog,omitempty"`
	// Static is configuration that does not come from an operator.
	Static *Static `json:"static,omitempty"`
}

// Node identifies one sidecar process.
type Node struct {
	// ID is the pod's UID, or any name standalone.
	ID        string `json:"id"`
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	// IP is the pod's address: where the application is found if it listens only there.
	IP string `json:"ip,omitempty"`
	// Container is the name of the container that this process runs in.
	Container string `json:"container,omitempty"`
	// Version is the name of the SidecarVersion.
	Version string `json:"version"`
	// Generation orders the sidecars of one pod; a handover goes from a lower to a higher one.
	Generation int64 `json:"generation"`
	// Zone of the node, for clusters that keep requests in it.
	Zone string `json:"zone,omitempty"`
	// InPlace is true for an ephemeral container: one loop, no volume, configuration kept in memory.
	InPlace bool `json:"inPlace,omitempty"`
}

// Slot is what a slot knows from its creation on; its generation and version come from a file that changes.
type Slot struct {
	// Name is "a" or "b".
	Name string `json:"name"`
	// Dir is a directory that only the two slots share, and that outlives both.
	Dir string `json:"dir"`
	// File holds the pod's slots annotation; it follows the annotation.
	File string `json:"file"`
	// TokenFile holds the pod's projected service account token for the operator.
	TokenFile string `json:"tokenFile"`
}

// Operator is the control plane's address.
type Operator struct {
	// Address is host:port of the TLS endpoint that serves ADS and the control channel.
	Address string `json:"address"`
	// ServerName that its certificate must carry.
	ServerName string `json:"serverName"`
	// CA is the PEM bundle that its certificate must chain to.
	CA string `json:"ca"`
}

// Handover says where the generations of one pod (or of one host) meet.
type Handover struct {
	// Socket is the path of a SOCK_SEQPACKET socket; a leading @ makes it abstract.
	Socket string `json:"socket,omitempty"`
	// KeyFile holds the one-time key, standalone; with an operator the key comes with its command.
	KeyFile string `json:"keyFile,omitempty"`
}

// Protocol names how a listener's bytes are read.
type Protocol string

// The protocols of this release.
const (
	TCP   Protocol = "tcp"
	Bolt  Protocol = "bolt"
	HTTP1 Protocol = "http1"
	Dubbo Protocol = "dubbo"
	HTTP2 Protocol = "http2" // without TLS, by prior knowledge
	GRPC  Protocol = "grpc"  // another word for http2
	Auto  Protocol = "auto"  // told by the first bytes of each connection
)

// Static is a data-plane configuration in a file.
type Static struct {
	Listeners []Listener `json:"listeners"`
	Routes    []Route    `json:"routes,omitempty"`
	Clusters  []Cluster  `json:"clusters"`
}

// Listener is one address to accept on.
type Listener struct {
	Name     string   `json:"name"`
	Address  string   `json:"address"` // host:port
	Protocol Protocol `json:"protocol"`
	// Cluster takes everything; empty means that Routes decide, and that auto knows no tcp.
	Cluster string `json:"cluster,omitempty"`
	// TLS that clients have to speak; nil means plain bytes.
	TLS *ListenerTLS `json:"tls,omitempty"`
	// ProxyProtocol says that each connection begins with a header of the PROXY protocol, version 1 or 2.
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
	// Limit of the requests that are taken here.
	Limit *Limit `json:"limit,omitempty"`
}

// Modes of a listener's TLS.
const (
	Strict     = "strict"
	Permissive = "permissive"
)

// ListenerTLS says how a listener speaks TLS. Files are PEM, and read again when they change.
type ListenerTLS struct {
	// Mode is "strict", or "permissive": clients without TLS are served too. Empty means strict.
	Mode        string `json:"mode,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	// Certificates are more of them, or all. A client gets the one for the name that it asks for, of a kind that it can verify; else
	// the first, which is Certificate if that is there.
	Certificates []KeyPair `json:"certificates,omitempty"`
	// Trust has the roots of clients' certificates. With it every client has to show one.
	Trust string `json:"trust,omitempty"`
	// Peers are URIs ("spiffe://..."; "*" at the end takes all that begin so) and DNS names, one of which a client's
	// certificate has to have; none takes every certificate of a trusted root.
	Peers []string `json:"peers,omitempty"`
	// ALPN are the protocols to agree on (RFC 7301); none means h2 for http2 and grpc, and for others that nothing is agreed on.
	ALPN []string `json:"alpn,omitempty"`
	// MinVersion is "1.2" or "1.3"; empty means 1.2.
	MinVersion string `json:"minVersion,omitempty"`
}

// KeyPair is a certificate, with those between it and its root, and its key.
type KeyPair struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// ClusterTLS says how the endpoints of a cluster are spoken to. Files are PEM, and read again when they change.
type ClusterTLS struct {
	// Certificate and Key are shown to endpoints that ask for them.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	// Trust has the roots of endpoints' certificates; empty means the system's.
	Trust string `json:"trust,omitempty"`
	// ServerName is sent (SNI); without Peers the certificate has to be for it.
	ServerName string `json:"serverName,omitempty"`
	// Peers are as in ListenerTLS, of the endpoint's certificate.
	Peers      []string `json:"peers,omitempty"`
	ALPN       []string `json:"alpn,omitempty"`
	MinVersion string   `json:"minVersion,omitempty"`
}

// Route says what becomes of requests for one service. The routes of a service are tried in order, and the first whose
// matches all hold takes the request. Exactly one of Cluster, Split, Status and Redirect is set.
type Route struct {
	// Name in metrics; empty means Service.
	Name string `json:"name,omitempty"`
	// Service is the routing key: of Bolt the service ("com.x.Pay:1.0"), of Dubbo the interface with what it
	// has of version and group ("com.x.Pay:1.0@gray"), of HTTP the host without its port ("shop.demo"; the suffixes .svc and
	// .svc.cluster.local are cut off first), of SOAP what its action says before the operation, else the namespace of what is
	// in the body; or "*" for whatever nothing else matches.
	Service string `json:"service"`
	// Match lists conditions; none takes every request.
	Match []Match `json:"match,omitempty"`
	// Cluster takes the requests.
	Cluster string `json:"cluster,omitempty"`
	// Split spreads them over several clusters.
	Split []Share `json:"split,omitempty"`
	// Status answers them: an HTTP status from 200 to 599. A Bolt client is told that there is no processor, a
	// Dubbo client that there is no service.
	Status int `json:"status,omitempty"`
	// Mirror copies requests to another cluster and drops what that answers.
	Mirror *Mirror `json:"mirror,omitempty"`
	// Timeout of one request ("800ms"), to the last byte of its answer; empty means the request's own, which HTTP/1 has not.
	Timeout string `json:"timeout,omitempty"`
	// Hash is what a cluster that balances by hash looks at; none leaves that to the cluster.
	Hash []HashKey `json:"hash,omitempty"`
	// Attempts in all, 1 to 10; 0 means 3. Without Retry a request that was sent is not sent again.
	Attempts int    `json:"attempts,omitempty"`
	Retry    *Retry `json:"retry,omitempty"`
	// Sticky names a header: requests with the same value of it go to the same part of Split.
	Sticky string `json:"sticky,omitempty"`
	Fault  *Fault `json:"fault,omitempty"`
	// Limit of the requests that are taken.
	Limit    *Limit    `json:"limit,omitempty"`
	Edit     *Edit     `json:"edit,omitempty"`
	Redirect *Redirect `json:"redirect,omitempty"`
	// Priority of the requests: low, default or high; empty means default. What is short of something serves the highest first.
	Priority string `json:"priority,omitempty"`
	// PriorityHeader names a header, as in Match, whose value may lower it, and never raises it.
	PriorityHeader string `json:"priorityHeader,omitempty"`
}

// Match is a condition. Exactly one of Header and Query is set, and one of Present, Exact, Prefix, Suffix, Contains, Regex and
// Range.
type Match struct {
	// Header names a header: in any case for HTTP, exactly as clients send it for Bolt and for Dubbo, where it is an
	// attachment; ":method" is the method, and ":path" the path of HTTP without its query.
	Header string `json:"header,omitempty"`
	// Query names a parameter of HTTP's query; the first one's value counts, as it is encoded.
	Query string `json:"query,omitempty"`
	// Present holds for any value, the empty one included.
	Present bool `json:"present,omitempty"`
	// Exact is the whole value.
	Exact string `json:"exact,omitempty"`
	// Prefix is what the value begins with.
	Prefix string `json:"prefix,omitempty"`
	// Suffix is what the value ends with, Contains what is somewhere in it.
	Suffix   string `json:"suffix,omitempty"`
	Contains string `json:"contains,omitempty"`
	// Regex has RE2's syntax and matches the whole value; one of more than 4 KiB it does not match.
	Regex string `json:"regex,omitempty"`
	// Range is of decimal integers.
	Range *Range `json:"range,omitempty"`
	// Invert holds for a value that does not match, and with Present for what is not there.
	Invert bool `json:"invert,omitempty"`
}

// Share is a cluster's part of a Split: its weight of the sum of all.
type Share struct {
	Cluster string `json:"cluster"`
	Weight  uint32 `json:"weight"`
}

// Mirror copies Numerator in Denominator requests; 100 when Denominator is 0.
type Mirror struct {
	Cluster     string `json:"cluster"`
	Numerator   uint32 `json:"numerator"`
	Denominator uint32 `json:"denominator,omitempty"`
}

// Cluster is a set of interchangeable endpoints.
type Cluster struct {
	Name      string   `json:"name"`
	Endpoints []string `json:"endpoints"` // host:port, unix:///path, or unix:@name of an abstract socket
	// ConnectTimeout ("1s"); empty means 1 s.
	ConnectTimeout string `json:"connectTimeout,omitempty"`
	// Connections to each endpoint and loop; 0 means 1. It has no meaning for tcp.
	Connections int `json:"connections,omitempty"`
	// TLS that endpoints are spoken to in; nil means plain bytes.
	TLS *ClusterTLS `json:"tls,omitempty"`
	// Traits of those endpoints that have more than an address.
	Traits []Trait `json:"traits,omitempty"`
	// Balancing says which endpoint takes a request; nil means in turn.
	Balancing *Balancing `json:"balancing,omitempty"`
	// Limits of the whole process; nil sets none.
	Limits *Limits `json:"limits,omitempty"`
	// Adaptive limits open requests by their latency; nil does not.
	Adaptive *Adaptive `json:"adaptive,omitempty"`
	// Outlier ejects endpoints that fail; nil ejects none.
	Outlier *Outlier `json:"outlier,omitempty"`
	// HealthCheck asks the endpoints; nil asks none.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
}
