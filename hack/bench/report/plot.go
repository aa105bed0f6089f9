package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/axlemesh/axle/hack/bench/load"
)

// panel is one group of bars.
type panel struct {
	title string
	load  string
}

var panels = []panel{
	{"HTTP/1.1, 64 connections", Name(load.HTTP, Wide)},
	{"HTTP/1.1 with TLS 1.3 on both sides, 64 connections", Name(load.TLS, Wide)},
	{"HTTP/2, 4 connections with 32 streams", Name(load.HTTP2, Mux)},
	{"gRPC, 4 connections with 32 streams", Name(load.GRPC, Mux)},
	{"Bolt, 64 connections with 1 request", Name(load.Bolt, Wide)},
	{"Bolt, 4 connections with 32 requests", Name(load.Bolt, Mux)},
	{"Dubbo, 64 connections with 1 request", Name(load.Dubbo, Wide)},
	{"Dubbo, 4 connections with 32 requests", Name(load.Dubbo, Mux)},
}

// Sizes of the plot in its own units.
const (
	plotWidth = 720
	barsFrom  = 90
	barsTo    = 640
	barHeight = 14
	barStep   = 18
	titleStep = 30
)

// bar colours: the sidecar's, the relay's, and everyone else's.
var colours = map[string]string{Axle: "#1b6ca8", Relay: "#9a9a9a"}

const otherColour = "#c9b27c"

// Plot writes CPU time for one request as bars, each panel with its own scale, as SVG. The same rows give the same bytes.
func Plot(w io.Writer, rows []Row) error {
	x := indexed(rows)
	var body strings.Builder
	y := titleStep
	fmt.Fprintf(&body, `<text x="8" y="%d" class="t">CPU time of the proxy for one request, microseconds (median)</text>`+"\n", y-8)
	for _, p := range panels {
		y = x.bars(&body, p, y)
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>.t{font-weight:bold}</style>
<rect width="100%%" height="100%%" fill="#fff"/>
%s</svg>
`, plotWidth, y+8, body.String())
	if err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// bars draws a panel below y and returns where it ends: at y when nothing was measured.
func (x index) bars(to *strings.Builder, p panel, y int) int {
	longest := 0.0
	var cells []cell
	for _, c := range x.order {
		if v, _ := x.median(c, Row.cpu); c.load == p.load && v > 0 {
			cells = append(cells, c)
			longest = max(longest, v)
		}
	}
	if len(cells) == 0 {
		return y
	}
	y += titleStep
	fmt.Fprintf(to, `<text x="8" y="%d">%s</text>`+"\n", y-10, p.title)
	for _, c := range cells {
		v, _ := x.median(c, Row.cpu)
		colour := colours[c.proxy]
		if colour == "" {
			colour = otherColour
		}
		length := v / longest * (barsTo - barsFrom)
		fmt.Fprintf(to, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/><text x="%.1f" y="%d">%.2f</text>`+"\n",
			barsFrom-6, y+11, c.proxy, barsFrom, y, length, barHeight, colour, barsFrom+length+5, y+11, v)
		y += barStep
	}
	return y
}
