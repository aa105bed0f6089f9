// Package report makes of the single results of a bench what people and programs read: a table, the figures with their
// goals, a CSV file and a plot. It measures nothing.
package report

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/axlemesh/axle/hack/bench/load"
)

// The names of the proxies. Direct is none at all, Relay the C program that understands nothing, Axle the sidecar.
const (
	Direct  = "direct"
	Relay   = "c-relay"
	Axle    = "axle"
	Nginx   = "nginx"
	HAProxy = "haproxy"
	Envoy   = "envoy"
	Reverse = "reverse"
)

// Kind is a way of asking. The full name of a load is the protocol's, a dash, and its kind's.
type Kind string

// The kinds of load.
const (
	// Open has a fixed rate.
	Open Kind = "open"
	// Wide has 64 connections with one request in flight each.
	Wide Kind = "64x1"
	// Mux has 4 connections with 32 requests in flight each.
	Mux Kind = "4x32"
	// Idle is a proxy without a connection.
	Idle Kind = "idle"
	// Held is memory for connections that say nothing.
	Held Kind = "held"
	// Alone and Crowded are Wide without and with many connections that say nothing.
	Alone   Kind = "alone"
	Crowded Kind = "crowded"
)

// Name of a load.
func Name(p load.Protocol, k Kind) string { return string(p) + "-" + string(k) }

// Row is one result.
type Row struct {
	Repetition  int
	Proxy, Load string
	load.Result
	// AnonKB and ResidentKB are the proxy's memory after the run.
	AnonKB, ResidentKB int64
	// ConnKB is anonymous memory for one idle connection, and Conns how many there were.
	ConnKB float64
	Conns  int64
}

// column is one of the CSV file.
type column struct {
	name string
	// One of them points at the field.
	text  func(*Row) *string
	whole func(*Row) *int64
	real  func(*Row) *float64
}

var columns = []column{
	{name: "proxy", text: func(r *Row) *string { return &r.Proxy }},
	{name: "load", text: func(r *Row) *string { return &r.Load }},
	{name: "requests", whole: func(r *Row) *int64 { return &r.Requests }},
	{name: "rps", real: func(r *Row) *float64 { return &r.RPS }},
	{name: "cpu_us", real: func(r *Row) *float64 { return &r.CPU }},
	{name: "mean_us", real: func(r *Row) *float64 { return &r.MeanUS }},
	{name: "p50_us", real: func(r *Row) *float64 { return &r.P50US }},
	{name: "p99_us", real: func(r *Row) *float64 { return &r.P99US }},
	{name: "reads", real: func(r *Row) *float64 { return &r.Reads }},
	{name: "writes", real: func(r *Row) *float64 { return &r.Writes }},
	{name: "allocations", real: func(r *Row) *float64 { return &r.Allocations }},
	{name: "anon_kb", whole: func(r *Row) *int64 { return &r.AnonKB }},
	{name: "rss_kb", whole: func(r *Row) *int64 { return &r.ResidentKB }},
	{name: "conn_kb", real: func(r *Row) *float64 { return &r.ConnKB }},
	{name: "conns", whole: func(r *Row) *int64 { return &r.Conns }},
}

// WriteCSV writes single results.
func WriteCSV(w io.Writer, rows []Row) error {
	lines := [][]string{{"repetition"}}
	for _, c := range columns {
		lines[0] = append(lines[0], c.name)
	}
	for i := range rows {
		line := []string{strconv.Itoa(rows[i].Repetition)}
		for _, c := range columns {
			switch {
			case c.text != nil:
				line = append(line, *c.text(&rows[i]))
			case c.whole != nil:
				line = append(line, strconv.FormatInt(*c.whole(&rows[i]), 10))
			default:
				line = append(line, strconv.FormatFloat(*c.real(&rows[i]), 'f', 3, 64))
			}
		}
		lines = append(lines, line)
	}
	if err := csv.NewWriter(w).WriteAll(lines); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// ReadCSV reads what WriteCSV writes.
func ReadCSV(r io.Reader) ([]Row, error) {
	lines, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	if len(lines) == 0 || len(lines[0]) != len(columns)+1 || !slices.EqualFunc(lines[0][1:], columns, func(s string, c column) bool { return s == c.name }) {
		return nil, errors.New("read the results: the columns are others")
	}
	var rows []Row
	for n, line := range lines[1:] {
		var row Row
		row.Repetition, err = strconv.Atoi(line[0])
		for i, c := range columns {
			var wrong error
			switch value := line[i+1]; {
			case c.text != nil:
				*c.text(&row) = value
			case c.whole != nil:
				*c.whole(&row), wrong = strconv.ParseInt(value, 10, 64)
			default:
				*c.real(&row), wrong = strconv.ParseFloat(value, 64)
			}
			err = errors.Join(err, wrong)
		}
		if err != nil {
			return nil, fmt.Errorf("read the results, line %d: %w", n+2, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
