package static

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/accesslog"
)

// AccessFilter says what a bootstrap's access log takes. Every mistake is reported at once.
func AccessFilter(l *bootstrap.AccessLog) (accesslog.Filter, error) {
	f := accesslog.Filter{OnlyErrors: l.OnlyErrors}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("accessLog."+format, args...)) }
	if l.Path != bootstrap.Stdout && !filepath.IsAbs(l.Path) {
		bad("path: %q is neither %s nor an absolute path", l.Path, bootstrap.Stdout)
	}
	switch p := l.SamplePercent; {
	case math.IsNaN(p) || p < 0 || p > 100:
		bad("samplePercent: %v is not between 0 and 100", p)
	case p > 0:
		f.Sample = accesslog.Share(p / 100)
	}
	if l.SlowerThan != "" {
		d, err := time.ParseDuration(l.SlowerThan)
		switch {
		case err != nil:
			bad("slowerThan: %w", err)
		case d <= 0:
			bad("slowerThan: %s is not positive", l.SlowerThan)
		}
		f.SlowerThan = d
	}
	return f, errors.Join(errs...)
}
