package proxy

// Classes of ends: what dashboards divide by.
const (
	ClassOK    = "ok"
	ClassError = "error"
	ClassGone  = "gone" // the client has left before: nobody knows
)

// ClassOf is what an end is for those who count errors: the status says it in each protocol's words, a client's mistakes in HTTP
// are none, and what has ended in the middle is an error whatever it began with.
func ClassOf(p Spoken, c Code, f Flag) string {
	switch f {
	case FlagClientGone:
		return ClassGone
	case FlagNone, FlagMalformed, FlagOf(FailRule), FlagOf(FailFault), FlagOf(FailLimit),
		FlagOf(FailNoRoute), FlagOf(FailUnreadable):
		if wellWith(p, c.Status()) {
			return ClassOK
		}
	}
	return ClassError
}

// wellWith says that a status of the protocol is no error. A oneway has none.
func wellWith(p Spoken, status int) bool {
	switch p {
	case SpokenBolt, SpokenGRPC:
		return status <= 0
	case SpokenDubbo:
		return status < 0 || status == 20
	}
	return status < 500
}
