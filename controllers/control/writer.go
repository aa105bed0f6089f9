package control

import (
	"context"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// writers is how many patches are under way at once; a pod is in at most one of them.
const writers = 4

// statusWriter queues pods whose status may have to be written. Reports that arrive while a pod waits are written with it.
type statusWriter struct {
	once  sync.Once
	queue workqueue.TypedRateLimitingInterface[types.NamespacedName]
}

func (w *statusWriter) q() workqueue.TypedRateLimitingInterface[types.NamespacedName] {
	w.once.Do(func() {
		w.queue = workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[types.NamespacedName](10*time.Millisecond, 10*time.Second))
	})
	return w.queue
}

func (w *statusWriter) add(key types.NamespacedName) { w.q().Add(key) }

// NeedLeaderElection is false: the replica that holds the stream writes.
func (s *Server) NeedLeaderElection() bool { return false }

// Start writes status annotations until ctx ends.
func (s *Server) Start(ctx context.Context) error {
	queue := s.writer.q()
	var workers sync.WaitGroup
	for range writers {
		workers.Go(func() { // a status writer: ends when the queue is shut down
			for s.writeNext(ctx) {
			}
		})
	}
	<-ctx.Done()
	queue.ShutDown()
	workers.Wait()
	return nil
}

func (s *Server) writeNext(ctx context.Context) bool {
	queue := s.writer.q()
	key, down := queue.Get()
	if down {
		return false
	}
	defer queue.Done(key)
	err := s.write(ctx, key)
	switch {
	case err == nil:
		queue.Forget(key)
	case apierrors.IsConflict(err):
		s.Metrics.patches.WithLabelValues("conflict").Inc()
		queue.AddRateLimited(key) // the cache will have caught up
	case ctx.Err() == nil:
		s.Metrics.patches.WithLabelValues("error").Inc()
		s.Log.Error(err, "pod status not written; trying again", "pod", key)
		queue.AddRateLimited(key)
	}
	return true
}

// write brings one pod's status annotation up to date with what its sidecars say.
func (s *Server) write(ctx context.Context, key types.NamespacedName) error {
	pod := &corev1.Pod{}
	err := s.Pods.Get(ctx, key, pod)
	if client.IgnoreNotFound(err) != nil {
		return err
	}
	s.hub.forget(s.hub.others(key, pod.UID)) // their pod is gone, and nobody is left to tell
	if apierrors.IsNotFound(err) {
		return nil
	}
	have, err := axlev1.ParseStatus(pod.Annotations)
	if err != nil {
		s.Log.Error(err, "unreadable status is replaced", "pod", key)
	}
	if have == nil {
		have = &axlev1.PodStatus{}
	}
	said, ended := s.hub.said(pod.UID)
	want := Merge(*have, said)
	if d, err := axlev1.ParseDesired(pod.Annotations); err == nil && d != nil {
		want.Confirmed = confirmed(want, said, d.Confirm)
	}
	if err == nil && reflect.DeepEqual(normal(*have), normal(want)) {
		s.hub.forget(ended)
		return nil
	}
	if err := patchStatus(ctx, s.Writer, pod, want); err != nil {
		return client.IgnoreNotFound(err)
	}
	s.hub.forget(ended)
	s.Metrics.patches.WithLabelValues("ok").Inc()
	s.countHandover(have.Handover, want.Handover, key)
	return nil
}

func (s *Server) countHandover(before, after *axlev1.HandoverResult, key types.NamespacedName) {
	if after == nil || before != nil && *before == *after {
		return
	}
	result := "ok"
	if !after.OK {
		result = "failed"
	}
	s.Metrics.handovers.WithLabelValues(result).Inc()
	s.Log.Info("handover ended", "pod", key, "from", after.From, "to", after.To, "result", result,
		"step", after.Step, "reason", after.Reason, "moved", after.Moved, "lost", after.Lost)
}

// normal makes statuses comparable: an empty list is no list.
func normal(st axlev1.PodStatus) axlev1.PodStatus {
	if len(st.Listening) == 0 {
		st.Listening = nil
	}
	return st
}
