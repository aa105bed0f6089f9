// Package control serves the control channel: it lets sidecars in, relays to them what the operator wants of their pod, and
// writes down what they report.
//
// Every replica runs it. A replica knows only the sidecars that are connected to it; what it learns from them goes into the pod's
// status annotation, where the leader reads it, and what the leader wants comes out of the pod's desired annotation. Both ways
// are level-triggered: nothing here has to be remembered across a restart.
package control
