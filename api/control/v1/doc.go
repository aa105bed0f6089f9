// Package controlv1 is the control channel between a sidecar and the operator:
// a gRPC service that shares one TLS connection with ADS. control.proto is its
// contract; the other files are generated from it.
package controlv1
