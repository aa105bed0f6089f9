package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HeaderModifier changes the headers of an HTTP message. Its fields are those of the header modifiers of HTTPRoute. What is removed
// is removed first.
//
// +kubebuilder:validation:XValidation:rule="has(self.set) || has(self.add) || has(self.remove)",message="it changes nothing: say what to set, add or remove"
type HeaderModifier struct {
	// Set replaces all there is of each name.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Set []Header `json:"set,omitempty"`

	// Add adds to what there is.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Add []Header `json:"add,omitempty"`

	// Remove takes away all there is of each name.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Remove []HeaderName `json:"remove,omitempty"`
}

// Header is a header with its value.
type Header struct {
	// Name of the header; case does not matter.
	Name HeaderName `json:"name"`

	// Value of it: printable ASCII.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[!-~]([ -~]*[!-~])?$`
	Value string `json:"value"`
}

// HeaderName is a name of a header that a rule may change.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:Pattern=`^[!#$%&'*+.^_|~0-9A-Za-z-]+$`
// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['host', 'content-length', 'transfer-encoding', 'connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'upgrade', 'expect', 'max-forwards'])",message="this header frames the message or belongs to the connection: it cannot be changed; for host there is rewrite.hostname"
type HeaderName string

// Rewrite changes what an HTTP request asks for. Its fields are those of HTTPRoute's urlRewrite.
//
// +kubebuilder:validation:XValidation:rule="has(self.hostname) || has(self.path)",message="it rewrites nothing: set hostname or path"
type Rewrite struct {
	// Hostname replaces the request's host, and its port.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Hostname string `json:"hostname,omitempty"`

	// Path replaces the request's, or a part of it.
	//
	// +optional
	Path *PathModifier `json:"path,omitempty"`
}

// PathModifier replaces a path. The query stays.
//
// +kubebuilder:validation:XValidation:rule="(self.type == 'ReplaceFullPath') == has(self.replaceFullPath) && (self.type == 'ReplacePrefixMatch') == has(self.replacePrefixMatch)",message="the type names the one field that is to be set: replaceFullPath or replacePrefixMatch"
type PathModifier struct {
	// Type says what is replaced: the whole path, or what the match's path of type PathPrefix fits.
	//
	// +kubebuilder:validation:Enum=ReplaceFullPath;ReplacePrefixMatch
	Type PathModifierType `json:"type"`

	// ReplaceFullPath takes the place of the path.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*$`
	ReplaceFullPath string `json:"replaceFullPath,omitempty"`

	// ReplacePrefixMatch takes the place of the prefix. Where both meet, two slashes become one.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*$`
	ReplacePrefixMatch string `json:"replacePrefixMatch,omitempty"`
}

// PathModifierType is what a PathModifier replaces.
type PathModifierType string

// The values of PathModifierType.
const (
	ReplaceFullPath    PathModifierType = "ReplaceFullPath"
	ReplacePrefixMatch PathModifierType = "ReplacePrefixMatch"
)

// Redirect answers an HTTP request with another address. Its fields are those of HTTPRoute's requestRedirect. What is not set stays
// as the request has it.
//
// +kubebuilder:validation:XValidation:rule="has(self.scheme) || has(self.hostname) || has(self.port) || has(self.path)",message="it leads back to where the request came from: set scheme, hostname, port or path"
type Redirect struct {
	// Scheme of the address.
	//
	// +optional
	// +kubebuilder:validation:Enum=http;https
	Scheme string `json:"scheme,omitempty"`

	// Hostname of the address.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	Hostname string `json:"hostname,omitempty"`

	// Port of the address. Default: the request's, or with another scheme that scheme's own.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// Path of the address.
	//
	// +optional
	Path *PathModifier `json:"path,omitempty"`

	// StatusCode of the answer.
	//
	// +optional
	// +kubebuilder:default=302
	// +kubebuilder:validation:Enum=301;302;303;307;308
	StatusCode int32 `json:"statusCode,omitempty"`
}

// Respond answers a request in place of any endpoint.
type Respond struct {
	// Status is HTTP's. A Bolt client is told that there is no processor, a Dubbo client that there is no service, whatever it is.
	//
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`
}

// Limit is a rate of requests. What is over it is refused: HTTP status 429, a Bolt or Dubbo server that is busy.
type Limit struct {
	// Requests in each interval.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Requests int32 `json:"requests"`

	// Interval in which they come, evenly spread.
	//
	// +optional
	// +kubebuilder:default="1s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:Pattern=`^([0-9]{1,6}(ms|s|m|h)){1,3}$`
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('24h')",message="interval must be from 1ms to 24h"
	Interval *metav1.Duration `json:"interval,omitempty"`

	// Burst is how many may come at once after a pause. Default: the requests of one interval.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst int32 `json:"burst,omitempty"`
}

// Sticky names what requests have in common that go to the same backendRef.
type Sticky struct {
	// Header whose value decides. Requests without it go by the weights alone.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[!#$%&'*+.^_|~0-9A-Za-z-]+$`
	Header string `json:"header"`
}
