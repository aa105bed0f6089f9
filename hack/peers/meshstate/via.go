package meshstate

// Via says which way a client's calls take.
type Via string

// The two ways.
const (
	Direct Via = "direct"
	Mesh   Via = "mesh"
)

// Next is the way that calls are meant to take when the sidecar says state. connected says that connections through the
// sidecar exist: that nobody listens for its state means nothing while those work.
func (v Via) Next(state string, connected bool) Via {
	switch state {
	case Serving:
		return Mesh
	case Leaving, Left:
		return Direct
	case Absent:
		if !connected {
			return Direct
		}
	}
	return v
}
