package v1alpha1

// Match is true for a request that all of its fields fit. Of several matches that fit a request the one that names its
// service wins; then the exact path, the longest prefix or a regular expression, in that order; then the exact method, the longest
// prefix, or any other comparison; then the one with more headers, with more parameters, with more labels of the caller; then that of
// the older rule.
type Match struct {
	// Service key that the request is for: one of the parent's annotation axlemesh.io/rpc-services, or NAME.NAMESPACE, the
	// Service's own. Default: all of them.
	//
	// +optional
	Service *ServiceMatch `json:"service,omitempty"`

	// Path of an HTTP request, without its query. Other protocols have none: their requests do not match.
	//
	// +optional
	Path *PathMatch `json:"path,omitempty"`

	// Method that is called: the RPC method, HTTP's request method, or SOAP's operation where the service key is SOAP's.
	//
	// +optional
	Method *ValueMatch `json:"method,omitempty"`

	// Headers of the request: HTTP headers, the header map of Bolt, or the attachments of Dubbo that are strings.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	Headers []HeaderMatch `json:"headers,omitempty"`

	// QueryParams are parameters of an HTTP request's query. Other protocols have none: their requests do not match.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=8
	QueryParams []QueryParamMatch `json:"queryParams,omitempty"`

	// Source is the pod that calls.
	//
	// +optional
	Source *SourceMatch `json:"source,omitempty"`
}

// ServiceMatch is one service key.
type ServiceMatch struct {
	// Value is the service key, like com.x.Pay:1.0; of Dubbo it is the interface and, where there is one, the version and the
	// group: com.x.Pay:1.0@gray.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[!-+\--~]+$`
	Value string `json:"value"`
}

// PathMatch compares a path, as HTTPRoute does.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'RegularExpression' || self.value.matches('^/[^?#]*$')",message="a path begins with / and has no query"
type PathMatch struct {
	// Type of the comparison. PathPrefix goes by the parts between slashes: /shop fits /shop and /shop/cart, and not /shopping.
	//
	// +optional
	// +kubebuilder:default=PathPrefix
	Type PathMatchType `json:"type,omitempty"`

	// Value to compare with. A regular expression (RE2) has to match the whole path.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[!-~]+$`
	Value string `json:"value"`
}

// PathMatchType is how two paths are compared.
//
// +kubebuilder:validation:Enum=Exact;PathPrefix;RegularExpression
type PathMatchType string

// The values of PathMatchType.
const (
	PathExact             PathMatchType = "Exact"
	PathPrefix            PathMatchType = "PathPrefix"
	PathRegularExpression PathMatchType = "RegularExpression"
)

// ValueMatch compares a value that every request has.
type ValueMatch struct {
	// Type of the comparison.
	//
	// +optional
	// +kubebuilder:default=Exact
	// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;Contains;RegularExpression
	Type MatchType `json:"type,omitempty"`

	// Value to compare with. A regular expression (RE2) has to match the whole value.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value"`

	// Invert makes it fit every other value.
	//
	// +optional
	Invert bool `json:"invert,omitempty"`
}

// HeaderMatch compares the value of one header. A request without that header does not match, unless Present is inverted.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) == !(has(self.type) && self.type in ['Present', 'Range'])",message="Present and Range have no value, every other type needs one"
// +kubebuilder:validation:XValidation:rule="has(self.range) == (has(self.type) && self.type == 'Range')",message="range belongs to the type Range: set both or neither"
type HeaderMatch struct {
	// Name of the header. HTTP's do not depend on case, those of others do. The name :path stands for HTTP's path and is in no other protocol.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^(:path|[!#$%&'*+.^_|~0-9A-Za-z-]+)$`
	Name string `json:"name"`

	// Type of the comparison.
	//
	// +optional
	// +kubebuilder:default=Exact
	// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;Contains;RegularExpression;Present;Range
	Type MatchType `json:"type,omitempty"`

	// Value to compare with. A regular expression (RE2) has to match the whole value.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value,omitempty"`

	// Range that the value, a decimal integer, is in.
	//
	// +optional
	Range *Range `json:"range,omitempty"`

	// Invert makes it fit every other value that the header may have, and with the type Present the requests without the header.
	//
	// +optional
	Invert bool `json:"invert,omitempty"`
}

// Range of integers.
//
// +kubebuilder:validation:XValidation:rule="self.from < self.to",message="from has to be less than to"
type Range struct {
	// From is the least one.
	From int64 `json:"from"`
	// To is above the greatest one.
	To int64 `json:"to"`
}

// QueryParamMatch compares the value of one parameter of a query; the first one of that name counts, as it is encoded. A request
// without it does not match, unless Present is inverted.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) == !(has(self.type) && self.type == 'Present')",message="Present has no value, every other type needs one"
// +kubebuilder:validation:XValidation:rule="!has(self.invert) || !self.invert || has(self.type) && self.type == 'Present'",message="only Present can be inverted for a parameter"
type QueryParamMatch struct {
	// Name of the parameter.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[!#$%'*+.^_|~0-9A-Za-z:@/-]+$`
	Name string `json:"name"`

	// Type of the comparison.
	//
	// +optional
	// +kubebuilder:default=Exact
	// +kubebuilder:validation:Enum=Exact;Prefix;Suffix;Contains;RegularExpression;Present
	Type MatchType `json:"type,omitempty"`

	// Value to compare with. A regular expression (RE2) has to match the whole value.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Value string `json:"value,omitempty"`

	// Invert makes the type Present fit requests without the parameter.
	//
	// +optional
	Invert bool `json:"invert,omitempty"`
}

// SourceMatch is about the pod that calls.
type SourceMatch struct {
	// Labels that the calling pod must have, as they are now: a change of a pod's labels is followed within seconds.
	//
	// +mapType=atomic
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=4
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && self[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))",message="source must be labels as pods have them: names and values of at most 63 letters, digits, dashes, dots and underscores"
	Labels map[string]SubsetValue `json:"labels"`
}

// MatchType is how two values are compared. Each field that has one says which of them it takes.
type MatchType string

// The values of MatchType.
const (
	MatchExact             MatchType = "Exact"
	MatchPrefix            MatchType = "Prefix"
	MatchSuffix            MatchType = "Suffix"
	MatchContains          MatchType = "Contains"
	MatchRegularExpression MatchType = "RegularExpression"
	// MatchPresent: there is any value, the empty one too.
	MatchPresent MatchType = "Present"
	// MatchRange: the value is an integer in a range.
	MatchRange MatchType = "Range"
)
