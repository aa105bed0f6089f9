package http2

// pairs is one entry of the static table.
type pair struct{ name, value string }

// staticTable is RFC 7541 appendix A. Its indices begin with 1.
var staticTable = [...]pair{
	{}, {":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
	{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
	{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"}, {"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"}, {"accept-language", ""}, {"accept-ranges", ""}, {"accept", ""},
	{"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""}, {"authorization", ""}, {"cache-control", ""},
	{"content-disposition", ""}, {"content-encoding", ""}, {"content-language", ""}, {"content-length", ""},
	{"content-location", ""}, {"content-range", ""}, {"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""},
	{"expect", ""}, {"expires", ""}, {"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""},
	{"if-none-match", ""}, {"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""},
	{"location", ""}, {"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
	{"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
	{"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""}, {"via", ""},
	{"www-authenticate", ""},
}

// lastStatic is the highest index of the static table.
const lastStatic = len(staticTable) - 1

// staticIDs are the ids of the static table's names.
var staticIDs = func() (ids [len(staticTable)]id) {
	for i, p := range staticTable {
		ids[i] = identify([]byte(p.name))
	}
	return ids
}()

// id names the fields that mean something to this package.
type id uint8

const (
	idOther id = iota
	idMethod
	idScheme
	idAuthority
	idPath
	idStatus
	idPseudo        // one that is not defined
	idConnection    // and everything else that is about one connection of HTTP/1
	idTE            //
	idHost          //
	idContentLength //
	idContentType   //
	ids
)

// pseudo says that it is of a pseudo-header field.
func (i id) pseudo() bool { return i >= idMethod && i <= idPseudo }

// identify tells the id of a field.
func identify(name []byte) id {
	if len(name) > 0 && name[0] == ':' {
		switch string(name) {
		case ":method":
			return idMethod
		case ":scheme":
			return idScheme
		case ":authority":
			return idAuthority
		case ":path":
			return idPath
		case ":status":
			return idStatus
		}
		return idPseudo
	}
	switch string(name) {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return idConnection
	case "te":
		return idTE
	case "host":
		return idHost
	case "content-length":
		return idContentLength
	case "content-type":
		return idContentType
	}
	return idOther
}

// staticFor is the lowest index of a name in the static table, 0 for none.
func staticFor(name string) uint8 {
	for i := 1; i <= lastStatic; i++ {
		if staticTable[i].name == name {
			return uint8(i)
		}
	}
	return 0
}
