//go:build race

package proxy_test

// raceDetector says that these tests run under it.
const raceDetector = true
