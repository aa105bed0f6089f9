// Package selftest proves on a real cluster what the end-to-end tests stand
// on. It starts a cluster of its own and ends it, so it runs only when asked:
//
//	AXLE_SELFTEST=1 go test -count=1 -v ./hack/cluster/selftest
package selftest
