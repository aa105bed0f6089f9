package proxy_test

import "github.com/axlemesh/axle/sidecar/proxy"

// ends is how the requests of a route have ended, in every direction and protocol.
type ends struct {
	all      uint64
	answered uint64 // by an endpoint
	own      uint64 // by the sidecar, or cut off
	gone     uint64 // their client was
	codes    map[string]uint64
}

func endsOf(s proxy.Stats, host, route string) ends {
	e := ends{codes: map[string]uint64{}}
	for name, c := range s.Series {
		if name.Host != host || name.Route != route {
			continue
		}
		for _, one := range c.Codes {
			e.all += one.N
			e.codes[one.Code.String()] += one.N
			switch one.Flag {
			case proxy.FlagNone:
				e.answered += one.N
			case proxy.FlagClientGone:
				e.gone += one.N
			default:
				e.own += one.N
			}
		}
	}
	return e
}
