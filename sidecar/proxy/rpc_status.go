package proxy

import (
	"github.com/axlemesh/axle/sidecar/codec/bolt"
	"github.com/axlemesh/axle/sidecar/codec/dubbo"
	"github.com/axlemesh/axle/sidecar/config"
)

// boltStatuses are the HTTP statuses that Bolt's are taken for: in outcomes, and where a route retries by status.
var boltStatuses = [...]int{
	bolt.StatusOK: 200, bolt.StatusServerBusy: 503, bolt.StatusCommunication: 502, bolt.StatusNoProcessor: 404, bolt.StatusTimeout: 504,
	bolt.StatusClosed: 503,
}

// dubboStatuses are those of Dubbo.
var dubboStatuses = [...]int{
	dubbo.StatusOK: 200, dubbo.StatusServerTimeout: 504, dubbo.StatusChannelInactive: 502, dubbo.StatusBadRequest: 400,
	dubbo.StatusServiceNotFound: 404, dubbo.StatusExhausted: 503,
}

// status is a response's own.
func (r rpcFrame) status() int {
	if r.reply.protocol == config.Dubbo {
		return int(dubbo.Seen(r.raw).Status())
	}
	return int(bolt.Seen(r.raw).Status())
}

// httpStatus is what a response's status is taken for; what has nothing better is an error of the server.
func (r rpcFrame) httpStatus() int {
	known, s := boltStatuses[:], r.status()
	if r.reply.protocol == config.Dubbo {
		known = dubboStatuses[:]
	}
	if s < len(known) && known[s] != 0 {
		return known[s]
	}
	return 500
}

// busy says that the server has not begun with the request.
func (r rpcFrame) busy() bool {
	if r.reply.protocol == config.Dubbo {
		return dubbo.Seen(r.raw).Status() == dubbo.StatusExhausted
	}
	return bolt.Seen(r.raw).Status() == bolt.StatusServerBusy
}

// appendStatus appends the answer of a fault or a limit with an HTTP status.
func (r rpcReply) appendStatus(dst []byte, status int) []byte {
	if r.protocol == config.Dubbo {
		return dubbo.AppendError(dst, r.id, dubboStatus(status), "axle: a rule of the sidecar refuses the request")
	}
	return r.bolt().AppendStatus(dst, boltStatus(status))
}

// dubboStatus is boltStatus for Dubbo.
func dubboStatus(status int) dubbo.Status {
	switch status {
	case 404:
		return dubbo.StatusServiceNotFound
	case 429, 503:
		return dubbo.StatusExhausted
	case 502:
		return dubbo.StatusChannelInactive
	case 408, 504:
		return dubbo.StatusServerTimeout
	case 400:
		return dubbo.StatusBadRequest
	}
	return dubbo.StatusServerError
}

// boltStatus is the Bolt status that a fault answers with for an HTTP one.
func boltStatus(status int) bolt.Status {
	switch status {
	case 404:
		return bolt.StatusNoProcessor
	case 429, 503:
		return bolt.StatusServerBusy
	case 502:
		return bolt.StatusCommunication
	case 408, 504:
		return bolt.StatusTimeout
	}
	return bolt.StatusError
}
