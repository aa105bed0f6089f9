package identity

import (
	"fmt"
	"time"
)

// Lifetimes of the tokens.
const (
	// JoinLifetime is how long a join token is good: it travels in a container's environment, where others may read it.
	JoinLifetime = 10 * time.Minute
	// BearerLifetime is how long a bearer opens streams.
	BearerLifetime = 24 * time.Hour
	// BearerRenewAfter is when the sidecar should ask for another.
	BearerRenewAfter = 12 * time.Hour
	// RenewGrace is how long after its end a bearer still buys a new one, while its pod exists: a control plane may have been
	// away for a long weekend.
	RenewGrace = 30 * 24 * time.Hour
)

const (
	joinKind   = "axj1"
	bearerKind = "axb1"
)

// Sidecar is one container of one pod.
type Sidecar struct {
	PodUID    string `json:"uid"`
	Namespace string `json:"ns"`
	Pod       string `json:"pod"`
	Container string `json:"c"`
}

// complete says what is missing, if anything.
func (s Sidecar) complete() error {
	if s.PodUID == "" || s.Namespace == "" || s.Pod == "" || s.Container == "" {
		return fmt.Errorf("%w: pod UID, namespace, pod and container are needed, got %+v", ErrMalformed, s)
	}
	return nil
}

// Join is what a join token says: this container may exchange it, once, for a bearer.
type Join struct {
	Sidecar
	Expires int64 `json:"exp"` // Unix seconds
}

// Bearer is what a bearer says: its holder is this container.
type Bearer struct {
	Sidecar
	Issued  int64 `json:"iat"` // Unix seconds
	Expires int64 `json:"exp"` // Unix seconds
}

// RenewAfter is when its holder should ask for another, in Unix seconds.
func (b Bearer) RenewAfter() int64 { return b.Issued + int64(BearerRenewAfter/time.Second) }

// SignJoin makes a join token for s that ends JoinLifetime after now.
func (k Keys) SignJoin(s Sidecar, now time.Time) (string, error) {
	if err := s.complete(); err != nil {
		return "", fmt.Errorf("sign join token: %w", err)
	}
	return k.sign(joinKind, Join{Sidecar: s, Expires: unix(now.Add(JoinLifetime))})
}

// OpenJoin checks a join token. That it is used once is for the caller to see to.
func (k Keys) OpenJoin(token string, now time.Time) (Join, error) {
	var j Join
	if err := k.open(joinKind, token, &j); err != nil {
		return Join{}, fmt.Errorf("join token: %w", err)
	}
	if err := j.complete(); err != nil {
		return Join{}, fmt.Errorf("join token: %w", err)
	}
	if now.Unix() > j.Expires {
		return Join{}, fmt.Errorf("join token of %s/%s container %s: %w %d s ago", j.Namespace, j.Pod, j.Container, ErrExpired, now.Unix()-j.Expires)
	}
	return j, nil
}

// SignBearer makes a bearer for s that ends BearerLifetime after now, and says what is in it.
func (k Keys) SignBearer(s Sidecar, now time.Time) (string, Bearer, error) {
	if err := s.complete(); err != nil {
		return "", Bearer{}, fmt.Errorf("sign bearer: %w", err)
	}
	b := Bearer{Sidecar: s, Issued: unix(now), Expires: unix(now.Add(BearerLifetime))}
	token, err := k.sign(bearerKind, b)
	return token, b, err
}

// OpenBearer checks a bearer; grace is how long after its end it still counts (0 for everything but a renewal).
func (k Keys) OpenBearer(token string, now time.Time, grace time.Duration) (Bearer, error) {
	var b Bearer
	if err := k.open(bearerKind, token, &b); err != nil {
		return Bearer{}, fmt.Errorf("bearer: %w", err)
	}
	if err := b.complete(); err != nil {
		return Bearer{}, fmt.Errorf("bearer: %w", err)
	}
	if late := now.Unix() - b.Expires; late > int64(grace/time.Second) {
		return Bearer{}, fmt.Errorf("bearer of %s/%s container %s: %w %d s ago", b.Namespace, b.Pod, b.Container, ErrExpired, late)
	}
	return b, nil
}
