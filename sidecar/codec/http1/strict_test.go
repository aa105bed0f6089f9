package http1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/axlemesh/axle/sidecar/codec/http1"
)

// refusal is what must be refused, and the section of the RFC that says so.
type refusal struct {
	bytes   string
	status  int
	section string
}

const (
	host = "Host: a.example\r\n"
	get  = "GET / HTTP/1.1\r\n" + host
	post = "POST / HTTP/1.1\r\n" + host
	ch   = post + "Transfer-Encoding: chunked\r\n\r\n"
)

var refusedRequests = map[string]refusal{
	// the request line
	"an LF alone behind the request line":     {"GET / HTTP/1.1\n" + host + "\r\n", 400, "9112 2.2"},
	"a CR alone behind the request line":      {"GET / HTTP/1.1\r" + host + "\r\n", 400, "9112 2.2"},
	"a CR in the target":                      {"GET /a\rb HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"an LF before the request line":           {"\n" + get + "\r\n", 400, "9112 3"},
	"two empty lines before the request line": {"\r\n\r\n" + get + "\r\n", 400, "9112 3"},
	"a space before the method":               {" " + get + "\r\n", 400, "9112 3"},
	"no method":                               {"/ HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3"},
	"a method with a bracket":                 {"GE[T / HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3"},
	"a method with a NUL":                     {"GE\x00T / HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3"},
	"a method longer than any":                {strings.Repeat("M", 33) + " / HTTP/1.1\r\n" + host + "\r\n", 501, "9112 3"},
	"a TLS handshake":                         {"\x16\x03\x01\x02\x00\x01\x00", 400, "9112 3"},
	"two spaces before the target":            {"GET  / HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"a tab before the target":                 {"GET\t/ HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3"},
	"two spaces behind the target":            {"GET /  HTTP/1.1\r\n" + host + "\r\n", 400, "9112 2.3"},
	"a space in the target":                   {"GET /a b HTTP/1.1\r\n" + host + "\r\n", 400, "9112 2.3"},
	"a tab in the target":                     {"GET /a\tb HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"a NUL in the target":                     {"GET /\x00 HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"a DEL in the target":                     {"GET /\x7f HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"a byte beyond ASCII in the target":       {"GET /\xc3\xa4 HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"a fragment in the target":                {"GET /a#b HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2"},
	"a target beyond the limit":               {"GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\n" + host + "\r\n", 414, "9112 3"},
	"a target that is no path":                {"GET a HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.2"},
	"an asterisk for GET":                     {"GET * HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.4"},
	"a URI of another scheme":                 {"GET ftp://a.example/ HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.2"},
	"a URI without an authority":              {"GET http:/a HTTP/1.1\r\n" + host + "\r\n", 400, "9110 4.2.1"},
	"a URI with an empty host":                {"GET http:///a HTTP/1.1\r\n" + host + "\r\n", 400, "9110 4.2"},
	"a URI with user information":             {"GET http://u:p@a.example/ HTTP/1.1\r\n" + host + "\r\n", 400, "9110 4.2"},
	"a CONNECT to a path":                     {"CONNECT / HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.3"},
	"a CONNECT without a port":                {"CONNECT a.example HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.3"},
	"a CONNECT with an empty port":            {"CONNECT a.example: HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.3"},
	"a CONNECT to a port beyond 65535":        {"CONNECT a.example:65536 HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.3"},
	"a CONNECT to a URI":                      {"CONNECT http://a.example:80 HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.3"},
	"a CONNECT with a length":                 {"CONNECT a.example:80 HTTP/1.1\r\n" + host + "Content-Length: 1\r\n\r\n", 400, "9110 9.3.6"},
	"a CONNECT with chunks":                   {"CONNECT a.example:80 HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n", 400, "9110 9.3.6"},
	"a host and port for GET":                 {"GET a.example:80 HTTP/1.1\r\n" + host + "\r\n", 400, "9112 3.2.2"},
	"HTTP/0.9":                                {"GET /\r\n", 400, "9112 3.2"},
	"HTTP/0.9 by name":                        {"GET / HTTP/0.9\r\n\r\n", 505, "9110 15.6.6"},
	"HTTP/2":                                  {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "9110 15.6.6"},
	"HTTP/2 for GET":                          {"GET / HTTP/2.0\r\n" + host + "\r\n", 505, "9110 15.6.6"},
	"a version in lower case":                 {"GET / http/1.1\r\n" + host + "\r\n", 400, "9112 2.3"},
	"a version of two digits":                 {"GET / HTTP/1.10\r\n" + host + "\r\n", 400, "9112 3"},
	"a version of two digits before the dot":  {"GET / HTTP/11.1\r\n" + host + "\r\n", 400, "9112 2.3"},
	"a version with a letter":                 {"GET / HTTP/1.x\r\n" + host + "\r\n", 400, "9112 2.3"},
	"a version without a minor":               {"GET / HTTP/1\r\n" + host + "\r\n", 400, "9112 2.3"},
	"another protocol":                        {"GET / ICY/1.1\r\n" + host + "\r\n", 400, "9112 2.3"},
	"a space behind the version":              {"GET / HTTP/1.1 \r\n" + host + "\r\n", 400, "9112 3"},
	"a word behind the version":               {"GET / HTTP/1.1 x\r\n" + host + "\r\n", 400, "9112 3"},
	"a word right behind the version":         {"GET / HTTP/1.1x\r\n" + host + "\r\n", 400, "9112 3"},
	// fields
	"an LF alone behind a field":              {"GET / HTTP/1.1\r\nHost: a.example\n\r\n", 400, "9112 2.2"},
	"an LF alone behind the head":             {get + "\n", 400, "9112 5"},
	"a CR alone behind the head":              {get + "\rX", 400, "9112 2.2"},
	"a CR alone in a value":                   {get + "A: b\rc\r\n\r\n", 400, "9112 2.2"},
	"a CR alone that hides a field":           {get + "A: b\rContent-Length: 5\r\n\r\n", 400, "9112 2.2"},
	"a CR before CRLF":                        {get + "A: b\r\r\n\r\n", 400, "9112 2.2"},
	"a NUL in a value":                        {get + "A: b\x00c\r\n\r\n", 400, "9110 5.5"},
	"a control character in a value":          {get + "A: b\x01c\r\n\r\n", 400, "9110 5.5"},
	"a DEL in a value":                        {get + "A: b\x7fc\r\n\r\n", 400, "9110 5.5"},
	"a folded value":                          {get + "A: b\r\n c\r\n\r\n", 400, "9112 5.2"},
	"a value folded with a tab":               {get + "A: b\r\n\tc\r\n\r\n", 400, "9112 5.2"},
	"a fold that hides a length":              {get + "A: b\r\n Content-Length: 5\r\n\r\n", 400, "9112 5.2"},
	"a line of spaces":                        {get + "A: b\r\n  \r\n\r\n", 400, "9112 5.2"},
	"a space before the first field":          {"GET / HTTP/1.1\r\n " + host + "\r\n", 400, "9112 2.2"},
	"a tab before the first field":            {"GET / HTTP/1.1\r\n\t" + host + "\r\n", 400, "9112 2.2"},
	"a space before the colon":                {get + "A : b\r\n\r\n", 400, "9112 5"},
	"a tab before the colon":                  {get + "A\t: b\r\n\r\n", 400, "9112 5"},
	"a space before the colon of a length":    {post + "Content-Length : 5\r\n\r\nhello", 400, "9112 5"},
	"a space before the colon of the codings": {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "9112 5"},
	"a space in a name":                       {get + "A b: c\r\n\r\n", 400, "9112 5"},
	"a NUL in a name":                         {get + "A\x00: c\r\n\r\n", 400, "9112 5"},
	"a bracket in a name":                     {get + "A[]: c\r\n\r\n", 400, "9112 5"},
	"a byte beyond ASCII in a name":           {get + "\xc3\xa4: c\r\n\r\n", 400, "9112 5"},
	"an empty name":                           {get + ": c\r\n\r\n", 400, "9112 5"},
	"a line without a colon":                  {get + "A\r\n\r\n", 400, "9112 5"},
	"a head beyond the limit":                 {get + "A: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", 431, "6585 5"},
	"a name beyond the limit":                 {get + strings.Repeat("b", 64<<10) + ": a\r\n\r\n", 431, "6585 5"},
	"more fields than the limit":              {get + strings.Repeat("A: b\r\n", 256) + "\r\n", 431, "6585 5"},
	// Host
	"no Host":                               {"GET / HTTP/1.1\r\n\r\n", 400, "9112 3.2"},
	"no Host beside a URI":                  {"GET http://a.example/ HTTP/1.1\r\n\r\n", 400, "9112 3.2"},
	"two Hosts":                             {get + "Host: b.example\r\n\r\n", 400, "9112 3.2"},
	"two Hosts that agree":                  {get + host + "\r\n", 400, "9112 3.2"},
	"two Hosts in HTTP/1.0":                 {"GET / HTTP/1.0\r\n" + host + host + "\r\n", 400, "9112 3.2"},
	"a Host with a space":                   {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "9112 3.2"},
	"a Host with a path":                    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "9112 3.2"},
	"a Host with user information":          {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400, "9112 3.2"},
	"a Host with a port that is no number":  {"GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400, "9112 3.2"},
	"a Host with a port beyond 65535":       {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "9112 3.2"},
	"a Host with two ports":                 {"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "9112 3.2"},
	"a Host with only a port":               {"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400, "9112 3.2"},
	"a Host with an open bracket":           {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "9112 3.2"},
	"a Host with a name in brackets":        {"GET / HTTP/1.1\r\nHost: [a.example]\r\n\r\n", 400, "9112 3.2"},
	"a Host with a bad escape":              {"GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n", 400, "9112 3.2"},
	"a Host with half an escape":            {"GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400, "9112 3.2"},
	"a Host with two gaps":                  {"GET / HTTP/1.1\r\nHost: [1::2::3]\r\n\r\n", 400, "9112 3.2"},
	"a Host with a zone":                    {"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400, "9112 3.2"},
	"a Host with a word behind the bracket": {"GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400, "9112 3.2"},
	// Content-Length
	"a length that is empty":        {post + "Content-Length:\r\n\r\n", 400, "9112 6.3"},
	"a length with a sign":          {post + "Content-Length: +5\r\n\r\nhello", 400, "9112 6.3"},
	"a length below zero":           {post + "Content-Length: -5\r\n\r\nhello", 400, "9112 6.3"},
	"a length that is hexadecimal":  {post + "Content-Length: 0x5\r\n\r\nhello", 400, "9112 6.3"},
	"a length with a point":         {post + "Content-Length: 5.0\r\n\r\nhello", 400, "9112 6.3"},
	"a length with a space":         {post + "Content-Length: 5 5\r\n\r\nhello", 400, "9112 6.3"},
	"a length with an underscore":   {post + "Content-Length: 1_0\r\n\r\nhello", 400, "9112 6.3"},
	"a length beyond 63 bits":       {post + "Content-Length: 9223372036854775808\r\n\r\nhello", 400, "9112 6.3"},
	"a length that would wrap to 5": {post + "Content-Length: 18446744073709551621\r\n\r\nhello", 400, "9112 6.3"},
	"a list of lengths that differ": {post + "Content-Length: 5, 6\r\n\r\nhello", 400, "9112 6.3"},
	"a list of lengths that agree":  {post + "Content-Length: 5, 5\r\n\r\nhello", 400, "9112 6.3"},
	"two lengths that differ":       {post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "9110 8.6"},
	"two lengths that agree":        {post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400, "9110 8.6"},
	// Transfer-Encoding
	"a length and chunks":                  {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "9112 6.1"},
	"chunks and a length":                  {post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, "9112 6.1"},
	"chunks in HTTP/1.0":                   {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "9112 6.1"},
	"no coding":                            {post + "Transfer-Encoding:\r\n\r\n", 400, "9112 6.3"},
	"identity":                             {post + "Transfer-Encoding: identity\r\n\r\n", 400, "9112 6.3"},
	"gzip only":                            {post + "Transfer-Encoding: gzip\r\n\r\n", 400, "9112 6.3"},
	"gzip behind chunked":                  {post + "Transfer-Encoding: chunked, gzip\r\n\r\n", 400, "9112 6.3"},
	"gzip behind chunked in another field": {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "9112 6.3"},
	"identity behind chunked":              {post + "Transfer-Encoding: chunked, identity\r\n\r\n", 400, "9112 6.3"},
	"chunked twice":                        {post + "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, "9112 6.1"},
	"chunked in two fields":                {post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "9112 6.1"},
	"chunked with a parameter":             {post + "Transfer-Encoding: chunked;q=1\r\n\r\n", 400, "9112 6.3"},
	"chunked in quotes":                    {post + "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, "9112 6.3"},
	"chunked with a vertical tab":          {post + "Transfer-Encoding: \x0bchunked\r\n\r\n", 400, "9110 5.5"},
	"a coding like chunked":                {post + "Transfer-Encoding: xchunked\r\n\r\n", 400, "9112 6.3"},
	"gzip and chunked":                     {post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "9112 6.1"},
	"gzip and chunked in two fields":       {post + "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501, "9112 6.1"},
	// chunks
	"a chunk without a size":                  {ch + "\r\n", 400, "9112 7.1"},
	"a chunk size that is no number":          {ch + "x\r\n", 400, "9112 7.1"},
	"a chunk size with a sign":                {ch + "+5\r\nhello\r\n", 400, "9112 7.1"},
	"a chunk size below zero":                 {ch + "-1\r\n", 400, "9112 7.1"},
	"a chunk size with 0x":                    {ch + "0x5\r\nhello\r\n", 400, "9112 7.1.1"},
	"a chunk size with an underscore":         {ch + "1_0\r\n", 400, "9112 7.1.1"},
	"a chunk size behind a space":             {ch + " 5\r\nhello\r\n", 400, "9112 7.1"},
	"a chunk size before a space":             {ch + "5 \r\nhello\r\n", 400, "9112 7.1.1"},
	"a chunk size before a tab":               {ch + "5\t\r\nhello\r\n", 400, "9112 7.1.1"},
	"a chunk size of 64 bits":                 {ch + "8000000000000000\r\n", 400, "9112 7.1"},
	"a chunk size that would wrap to 5":       {ch + "10000000000000005\r\nhello\r\n", 400, "9112 7.1"},
	"a chunk size of 17 digits":               {ch + "00000000000000005\r\nhello\r\n", 400, "9112 7.1"},
	"an LF alone behind a chunk size":         {ch + "5\nhello\r\n", 400, "9112 2.2"},
	"a CR alone behind a chunk size":          {ch + "5\rhello\r\n", 400, "9112 2.2"},
	"a NUL behind a chunk size":               {ch + "5\x00\r\n", 400, "9110 5.5"},
	"an LF alone behind a chunk":              {ch + "5\r\nhello\n0\r\n\r\n", 400, "9112 7.1"},
	"a CR alone behind a chunk":               {ch + "5\r\nhello\r0\r\n\r\n", 400, "9112 7.1"},
	"a CR and a letter behind a chunk":        {ch + "5\r\nhello\rX0\r\n\r\n", 400, "9112 7.1"},
	"nothing behind a chunk":                  {ch + "5\r\nhello0\r\n\r\n", 400, "9112 7.1"},
	"a chunk longer than its size":            {ch + "4\r\nhello\r\n", 400, "9112 7.1"},
	"an LF alone behind the last chunk":       {ch + "0\n\r\n", 400, "9112 2.2"},
	"an LF alone behind the trailers":         {ch + "0\r\n\n", 400, "9112 5"},
	"an extension without a name":             {ch + "5;\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension without a name but a value": {ch + "5;=a\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension without a value":            {ch + "5;a=\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension without a semicolon":        {ch + "5 a\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension with two values":            {ch + "5;a=b=c\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension with a space at its end":    {ch + "5;a=b \r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension with an LF":                 {ch + "5;a\nb\r\nhello\r\n", 400, "9112 2.2"},
	"an extension with a CR":                  {ch + "5;a\rb\r\nhello\r\n", 400, "9112 2.2"},
	"an extension with a NUL":                 {ch + "5;a=\x00\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension with an open quote":         {ch + "5;a=\"b\r\nhello\r\n", 400, "9110 5.6.4"},
	"an extension with an LF in quotes":       {ch + "5;a=\"b\n\"\r\nhello\r\n", 400, "9110 5.6.4"},
	"an extension with an escaped CR":         {ch + "5;a=\"\\\r\n\"\r\nhello\r\n", 400, "9110 5.6.4"},
	"an extension behind its quotes":          {ch + "5;a=\"b\"c\r\nhello\r\n", 400, "9112 7.1.1"},
	"an extension beyond the limit":           {ch + "5;" + strings.Repeat("a", 5<<10) + "\r\nhello\r\n", 400, "9112 7.1.1"},
	"many extensions beyond the limit":        {ch + strings.Repeat("1;"+strings.Repeat("a", 1<<10)+"\r\nx\r\n", 20), 400, "9112 7.1.1"},
	// trailers
	"a trailer with a space before the colon": {ch + "0\r\nA : b\r\n\r\n", 400, "9112 5"},
	"a trailer that is folded":                {ch + "0\r\nA: b\r\n c\r\n\r\n", 400, "9112 5.2"},
	"a trailer behind a space":                {ch + "0\r\n A: b\r\n\r\n", 400, "9112 5.2"},
	"a trailer with an LF alone":              {ch + "0\r\nA: b\n\r\n", 400, "9112 2.2"},
	"a trailer with a NUL":                    {ch + "0\r\nA: \x00\r\n\r\n", 400, "9110 5.5"},
	"a trailer without a colon":               {ch + "0\r\nGET / HTTP/1.1\r\n\r\n", 400, "9112 5"},
	"a trailer that frames":                   {ch + "0\r\nContent-Length: 5\r\n\r\n", 400, "9110 6.5.1"},
	"a trailer that codes":                    {ch + "0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "9110 6.5.1"},
	"a trailer that routes":                   {ch + "0\r\nHost: b.example\r\n\r\n", 400, "9110 6.5.1"},
	"a trailer that authenticates":            {ch + "0\r\nAuthorization: x\r\n\r\n", 400, "9110 6.5.1"},
	"a trailer for the connection":            {ch + "0\r\nConnection: close\r\n\r\n", 400, "9110 6.5.1"},
	"trailers beyond the limit":               {ch + "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 20) + "\r\n", 400, "9112 7.1.2"},
}

var refusedResponses = map[string]refusal{
	"an LF alone behind the status line": {"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", 502, "9112 2.2"},
	"a CR alone behind the status line":  {"HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n", 502, "9112 2.2"},
	"an empty line first":                {"\r\nHTTP/1.1 200 OK\r\n\r\n", 502, "9112 2.3"},
	"another protocol":                   {"ICY 200 OK\r\n\r\n", 502, "9112 2.3"},
	"HTTP/0.9":                           {"<html>", 502, "9112 2.3"},
	"HTTP/2":                             {"HTTP/2.0 200 OK\r\n\r\n", 502, "9110 15.6.6"},
	"no status":                          {"HTTP/1.1\r\n\r\n", 502, "9112 4"},
	"a status of two digits":             {"HTTP/1.1 20 OK\r\n\r\n", 502, "9112 4"},
	"a status of four digits":            {"HTTP/1.1 2000 OK\r\n\r\n", 502, "9112 4"},
	"a status with a sign":               {"HTTP/1.1 +20 OK\r\n\r\n", 502, "9112 4"},
	"a status below 100":                 {"HTTP/1.1 099 OK\r\n\r\n", 502, "9110 15"},
	"two spaces before the status":       {"HTTP/1.1  200 OK\r\n\r\n", 502, "9112 4"},
	"a NUL in the reason":                {"HTTP/1.1 200 O\x00K\r\n\r\n", 502, "9110 5.5"},
	"a reason beyond the limit":          {"HTTP/1.1 200 " + strings.Repeat("a", 17<<10) + "\r\n\r\n", 502, "9112 4"},
	"an LF alone behind a field":         {"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", 502, "9112 2.2"},
	"a folded value":                     {"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", 502, "9112 5.2"},
	"a space before the first field":     {"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", 502, "9112 2.2"},
	"an empty name":                      {"HTTP/1.1 200 OK\r\n : b\r\n\r\n", 502, "9112 2.2"},
	"an empty name behind a field":       {"HTTP/1.1 200 OK\r\nA: b\r\n: b\r\n\r\n", 502, "9112 5"},
	"a head beyond the limit":            {"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 64<<10) + "\r\n\r\n", 502, "6585 5"},
	"a length that is no number":         {"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", 502, "9112 6.3"},
	"two lengths":                        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 502, "9110 8.6"},
	"a length and chunks":                {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "9112 6.1"},
	"chunks in HTTP/1.0":                 {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 502, "9112 6.1"},
	"a coding that nobody asked for":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 502, "9112 6.1"},
	"a coding instead of chunked":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 502, "9112 6.3"},
	"chunked twice":                      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 502, "9112 6.1"},
	"an upgrade that nobody asked for":   {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 502, "9110 15.2.2"},
	"a chunk size that is no number":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400, "9112 7.1"},
}

// TestRefused reads each case at once and byte by byte: both must refuse, with the same words at the same byte, and an
// endpoint must not have been given anything behind the fault.
func TestRefused(t *testing.T) {
	for what, cases := range map[string]map[string]refusal{"requests": refusedRequests, "responses": refusedResponses} {
		for name, tc := range cases {
			t.Run(what+"/"+name, func(t *testing.T) {
				at := refuse(t, what == "responses", tc, len(tc.bytes))
				if one := refuse(t, what == "responses", tc, 1); one != at {
					t.Errorf("at once: %s\nbyte by byte: %s", at, one)
				}
			})
		}
	}
}

// refuse feeds pieces of that size and returns what the session noted last.
func refuse(t *testing.T, responses bool, tc refusal, piece int) string {
	t.Helper()
	s := &session{responses: responses}
	for b := []byte(tc.bytes); len(b) > 0; b = b[min(piece, len(b)):] {
		s.feed(t, b[:min(piece, len(b))])
	}
	if !s.ended {
		t.Fatalf("not refused: %q", s.finish())
	}
	last := s.seen[len(s.seen)-1]
	if want := "error " + itoa(tc.status) + " "; !strings.HasPrefix(last, want) || !strings.HasSuffix(last, "("+tc.section+")") {
		t.Errorf("%s, want %s... (%s)", last, want, tc.section)
	}
	return last
}

func itoa(n int) string {
	return string([]byte{'0' + byte(n/100), '0' + byte(n/10%10), '0' + byte(n%10)})
}

func TestFormatErrorNamesWhatAndWhere(t *testing.T) {
	var r http1.Request
	_, err := r.Decode([]byte("GET / HTTP/1.1\r\nHost : a\r\n"), http1.Limits{})
	want := "http1: whitespace before the colon of a field at offset 20 (RFC 9112 5): answer 400"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var format *http1.FormatError
	if !errors.As(err, &format) || format.Status != 400 {
		t.Errorf("%T %+v", err, err)
	}
}

func TestLimits(t *testing.T) {
	message := "GET /path HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"
	large := get + "A: " + strings.Repeat("b", 64<<10-len(get)-8) + "\r\n\r\n"
	if len(large) != 1<<16-1 {
		t.Fatal(len(large))
	}
	cases := map[string]struct {
		limits http1.Limits
		status int
	}{
		"the defaults":        {http1.Limits{}, 0},
		"exactly as large":    {http1.Limits{Line: 20, Head: len(message), Fields: 2}, 0},
		"a line too long":     {http1.Limits{Line: 19}, 414},
		"a head too large":    {http1.Limits{Head: len(message) - 1}, 431},
		"too many fields":     {http1.Limits{Fields: 1}, 431},
		"a head above 65,535": {http1.Limits{Head: 1 << 20}, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var r http1.Request
			n, err := r.Decode([]byte(message), tc.limits)
			var format *http1.FormatError
			errors.As(err, &format)
			if tc.status == 0 && (err != nil || n != len(message)) ||
				tc.status != 0 && (format == nil || format.Status != tc.status) {
				t.Errorf("took %d, %v; want status %d", n, err, tc.status)
			}
		})
	}
	var r http1.Request
	if n, err := r.Decode([]byte(large), http1.Limits{Head: 1 << 20}); n != len(large) || err != nil {
		t.Errorf("the largest head: took %d, %v", n, err)
	}
	if n, err := r.Decode([]byte("\r\n"+large), http1.Limits{Head: 1 << 20}); err == nil {
		t.Errorf("a head beyond what the index can hold: took %d", n)
	}
}
