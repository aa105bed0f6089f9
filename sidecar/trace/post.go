package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxReply bounds what is read of a collector's answer.
const maxReply = 64 << 10

// newClient asks no environment for a proxy: that may be this very sidecar.
func newClient() *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: timeout / 2}).DialContext, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: timeout / 2, ForceAttemptHTTP2: false, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusal is a status that is not 2xx.
type refusal struct{ status int }

func (r refusal) Error() string { return "the collector answers with status " + strconv.Itoa(r.status) }

// again says whether it may help to send the same again (OTLP, "Retryable Response Codes").
func again(err error) bool {
	var r refusal
	if !errors.As(err, &r) {
		return true
	}
	switch r.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// post sends a batch once. On an error, wait is what the collector has asked for.
func (e *Exporter) post(ctx context.Context, b batch) (wait time.Duration, err error) {
	to := e.to.Load()
	head := appendPayload(nil, to.resource, e.scope, len(b.spans))
	body := io.MultiReader(bytes.NewReader(head), bytes.NewReader(b.spans))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.endpoint, body)
	if err != nil {
		return 0, fmt.Errorf("post spans to %q: %w", to.endpoint, err)
	}
	req.ContentLength = int64(len(head) + len(b.spans))
	req.Header.Set("Content-Type", "application/x-protobuf")
	res, err := e.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("post spans: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return 0, fmt.Errorf("post spans: read the answer: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return retryAfter(res.Header.Get("Retry-After")), refusal{res.StatusCode}
	}
	if n := min(rejected(reply), uint64(b.n)); n > 0 {
		e.dropped.Add(n)
		e.sent.Add(-n)
	}
	return 0, nil
}

// retryAfter reads seconds; a date, which the header may also have, counts as nothing.
func retryAfter(v string) time.Duration {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return 0
	}
	return min(time.Duration(n)*time.Second, giveUpAfter)
}

// rejected is how many spans of a batch the collector did not want (ExportTraceServiceResponse.partial_success.rejected_spans).
func rejected(reply []byte) uint64 {
	const partialSuccess, rejectedSpans = 1, 1
	partial := field(reply, partialSuccess, protowire.BytesType)
	inner, n := protowire.ConsumeBytes(partial)
	if n < 0 {
		return 0
	}
	v, n := protowire.ConsumeVarint(field(inner, rejectedSpans, protowire.VarintType))
	if n < 0 || int64(v) < 0 {
		return 0
	}
	return v
}

// field returns b from the value of the first field of this number and type on, nil without one.
func field(b []byte, want protowire.Number, as protowire.Type) []byte {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		if b = b[n:]; number == want && kind == as {
			return b
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return nil
		}
		b = b[n:]
	}
	return nil
}
