package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Try returns which attempt to bring a version to its pods the fleet makes, and a hash of what that attempt is of: spec.version, spec.ports and
// RetryAnnotation. When one of those changes it is the next attempt; anything else, like spec.paused, goes on with the one there is.
func (f *SidecarFleet) Try() (attempt int64, hash string) {
	ports, err := json.Marshal(f.Spec.Ports)
	if err != nil { // it consists of numbers and strings
		ports = nil
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", f.Spec.Version, f.Annotations[RetryAnnotation], ports))
	hash = hex.EncodeToString(sum[:6])
	st := f.Status
	if hash == st.UpdateHash || st.UpdateHash == "" && st.UpdateVersion == f.Spec.Version { // the hash is not written yet
		return st.Attempt, hash
	}
	return st.Attempt + 1, hash
}

// Tried says whether the status speaks of the attempt that the spec asks for.
func (f *SidecarFleet) Tried() bool {
	attempt, _ := f.Try()
	return attempt == f.Status.Attempt
}
