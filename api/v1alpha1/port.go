package v1alpha1

// Protocol names how the bytes of a port are read.
//
// +kubebuilder:validation:Enum=tcp;http1;http2;bolt;dubbo;soap
type Protocol string

// The protocols that the API knows. Which of them a sidecar speaks is in the protocols of its SidecarVersion.
const (
	ProtocolTCP   Protocol = "tcp"
	ProtocolHTTP1 Protocol = "http1"
	ProtocolHTTP2 Protocol = "http2"
	ProtocolBolt  Protocol = "bolt"
	ProtocolDubbo Protocol = "dubbo"
	ProtocolSOAP  Protocol = "soap"
)

// PortSpec is one port of the application that its sidecar serves.
//
// +kubebuilder:validation:XValidation:rule="has(self.meshPort) || self.appPort <= 62535",message="meshPort is needed: appPort + 3000 is no port"
// +kubebuilder:validation:XValidation:rule="!has(self.meshPort) || self.takeover || self.meshPort != self.appPort",message="meshPort must differ from appPort, which stays the application's"
// +kubebuilder:validation:XValidation:rule="!((has(self.meshPort) ? self.meshPort : self.appPort + 3000) in [12220, 12230, 12280, 13330, 13331])",message="ports 12220, 12230, 12280, 13330 and 13331 are the sidecar's own on the loopback address"
type PortSpec struct {
	// AppPort is where the application listens.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	AppPort int32 `json:"appPort"`

	// MeshPort is where the sidecar listens for it. Default: appPort + 3000.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	MeshPort int32 `json:"meshPort,omitempty"`

	// Protocol spoken on the port.
	//
	// +optional
	// +kubebuilder:default=tcp
	Protocol Protocol `json:"protocol,omitempty"`

	// Takeover gives the sidecar the application's port; the application is told at its creation to move one port
	// down. It has no effect on pods that are injected while they run: their application keeps its port.
	//
	// +optional
	// +kubebuilder:default=false
	Takeover bool `json:"takeover,omitempty"`
}

// Mesh returns the port that the sidecar listens on, the default applied.
func (p PortSpec) Mesh() int32 {
	if p.MeshPort != 0 {
		return p.MeshPort
	}
	return p.AppPort + DefaultMeshPortOffset
}
