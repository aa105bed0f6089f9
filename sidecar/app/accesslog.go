package app

import (
	"context"

	"github.com/axlemesh/axle/sidecar/accesslog"
	"github.com/axlemesh/axle/sidecar/static"
)

// accessLog makes the writer that the bootstrap asks for; nil when it asks for none.
func accessLog(o *Options) (*accesslog.Writer, error) {
	l := o.Bootstrap.AccessLog
	if l == nil {
		return nil, nil
	}
	filter, err := static.AccessFilter(l)
	if err != nil {
		return nil, err
	}
	return accesslog.New(accesslog.Options{
		Path: l.Path, Filter: filter, Stdout: o.Stdout, Now: o.Now, Clock: o.Clock, Log: o.Log.WithName("access-log"),
	}), nil
}

// closeLog writes what is left, until ctx ends.
func (a *app) closeLog(ctx context.Context) {
	if a.log != nil {
		a.log.Close(ctx)
	}
}
