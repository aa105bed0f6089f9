package inject

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// causeField marks the causes of a denial that are findings.
const causeField = "axlemesh.io/sidecar"

// Details puts what was denied into the answer to whoever sent the stub.
func Details(r Report) *metav1.StatusDetails {
	d := &metav1.StatusDetails{}
	for _, f := range r.Denied {
		d.Causes = append(d.Causes, metav1.StatusCause{Type: metav1.CauseType(f.Reason), Message: f.Message, Field: causeField})
	}
	return d
}

// Denied reads back, from the error that sending a stub returned, why it was not
// rendered; nil when it failed for another reason and is worth another try.
func Denied(err error) []Finding {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	var out []Finding
	for _, c := range status.Status().Details.Causes {
		if c.Field == causeField {
			out = append(out, Finding{Reason(c.Type), c.Message})
		}
	}
	return out
}
