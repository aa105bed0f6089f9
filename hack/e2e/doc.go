// Package e2e plays the demo's story and its accidents on a real cluster. Its tests have the build tag e2e, because they
// need root, minutes, and a machine of their own:
//
//	go test -tags e2e -timeout 40m ./hack/e2e -v
//
// E2E_KEEP=1 leaves the cluster up; E2E_CLUSTER names another one of ours than "e2e".
package e2e
