// Package interop lets stock clients call stock servers through two real sidecars, and upgrades both in the middle of the
// calls. Its tests have the build tag interop, because they need Java, Node.js and a few programs of Debian:
//
//	make interop
//
// What is missing is installed, see package setup. A test is one pair of peers:
//
//	client -> sidecar (outbound) -> sidecar (inbound) -> server
//
// The client checks every answer and never retries. It passes when nothing failed, every kind of call went on after the
// upgrades, and all three legs are the sockets that they were before, which the kernel says.
//
// What the peers are told to do is in the folders node and java. They tell what they did in lines on standard output, and
// end when their standard input does.
package interop
