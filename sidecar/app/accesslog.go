package app

import (
	"cmp"
	"context"

	"github.com/axlemesh/axle/api/bootstrap"
	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/static"
)

// accessLog makes the writer that the bootstrap asks for. With an operator there is one in any case: its listeners may ask for lines,
// which go to standard output then. It is nil when nobody can.
func accessLog(o *Options) (*accesslog.Writer, error) {
	l := o.Bootstrap.AccessLog
	if l == nil && o.Bootstrap.Operator == nil {
		return nil, nil
	}
	to := accesslog.Options{
		OnDemand: l == nil, Stdout: o.Stdout, Now: o.Now, Clock: o.Clock, Log: o.Log.WithName("access-log"),
	}
	l = cmp.Or(l, &bootstrap.AccessLog{Path: bootstrap.Stdout})
	var err error
	if to.Filter, err = static.AccessFilter(l); err != nil {
		return nil, err
	}
	to.Path = l.Path
	return accesslog.New(to), nil
}

// closeLog writes what is left, until ctx ends.
func (a *app) closeLog(ctx context.Context) {
	if a.log != nil {
		a.log.Close(ctx)
	}
}
