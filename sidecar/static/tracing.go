package static

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/axlemesh/axle/api/bootstrap"
)

// CheckTracing reports every mistake in where spans go.
func CheckTracing(t *bootstrap.Tracing) error {
	if t == nil {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("tracing."+format, args...)) }
	switch u, err := url.Parse(t.Endpoint); {
	case err != nil:
		bad("endpoint: it is no URL") // err has the URL, and that may have a password
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "": // it is not shown, either
		bad("endpoint: it has a query or a fragment: the collector gets no credentials")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path == "":
		bad("endpoint: %q is no URL of a collector: use one as http://127.0.0.1:4318/v1/traces", u.Redacted())
	case u.User != nil:
		bad("endpoint: %q has a user: the collector gets no credentials", u.Redacted())
	}
	if p := t.SamplePercent; !(p >= 0 && p <= 100) {
		bad("samplePercent: %v is not between 0 and 100", p)
	}
	return errors.Join(errs...)
}
