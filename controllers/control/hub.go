package control

import (
	"sync"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	controlv1 "github.com/axlemesh/axle/api/control/v1"
	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
	"github.com/axlemesh/axle/controllers/identity"
)

// hub knows the sidecars that are connected to this replica, and those that are gone and whose last words are not written yet: they matter most.
type hub struct {
	mu    sync.Mutex
	pods  map[types.UID]map[*stream]struct{}
	count uint64
}

// stream is one connected sidecar. The hub's lock guards what is below the line.
type stream struct {
	who        identity.Sidecar
	generation int64
	version    string
	wake       chan struct{} // something is in desired

	number  uint64 // streams of one sidecar that overlap: the later one counts
	gone    bool
	report  *controlv1.Report
	desired *controlv1.Desired // the latest, sent or not
	unsent  bool
}

func (h *hub) open(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pods == nil {
		h.pods = map[types.UID]map[*stream]struct{}{}
	}
	uid := types.UID(s.who.PodUID)
	if h.pods[uid] == nil {
		h.pods[uid] = map[*stream]struct{}{}
	}
	h.count++
	s.number = h.count
	h.pods[uid][s] = struct{}{}
}

// close marks a stream as gone. It is forgotten when its last words have been written.
func (h *hub) close(s *stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.gone = true
}

// forget drops the gone ones of a pod among streams.
func (h *hub) forget(streams []*stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range streams {
		if !s.gone {
			continue
		}
		uid := types.UID(s.who.PodUID)
		delete(h.pods[uid], s)
		if len(h.pods[uid]) == 0 {
			delete(h.pods, uid)
		}
	}
}

// others lists the streams of pods of that name which are not the pod with this UID.
func (h *hub) others(name types.NamespacedName, uid types.UID) []*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*stream
	for id, streams := range h.pods {
		for s := range streams {
			if id != uid && s.who.Namespace == name.Namespace && s.who.Pod == name.Name {
				all = append(all, s)
			}
		}
	}
	return all
}

// heard keeps a report and says whether it brings more than counters.
func (h *hub) heard(s *stream, r *controlv1.Report) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.GetHandover() == nil {
		r.Handover = s.report.GetHandover()
	}
	news := s.report == nil || !sameNews(s.report, r)
	s.report = r
	return news
}

// said lists the latest words of a pod's sidecars, one for each generation, and the streams that had ended before. Those may be forgotten when the words
// have been written.
func (h *hub) said(uid types.UID) (all []Said, ended []*stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	latest := map[int64]*stream{}
	for s := range h.pods[uid] {
		if s.gone {
			ended = append(ended, s)
		}
		if old := latest[s.generation]; s.report != nil && (old == nil || old.number < s.number) {
			latest[s.generation] = s
		}
	}
	for _, s := range latest {
		all = append(all, Said{Generation: s.generation, Version: s.version, State: s.report.GetState(), Handover: s.report.GetHandover(), Gone: s.gone})
	}
	return all, ended
}

// wish gives every connected sidecar of a pod what is wanted of it.
func (h *hub) wish(uid types.UID, desired func(generation int64) *controlv1.Desired) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.pods[uid] {
		d := desired(s.generation)
		if s.gone || d == nil || proto.Equal(d, s.desired) {
			continue
		}
		s.desired, s.unsent = d, true
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// knows says whether any sidecar of the pod is connected, or has words left to write.
func (h *hub) knows(uid types.UID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pods[uid]) > 0
}

// take returns what has to be sent to s now, or nil.
func (h *hub) take(s *stream) *controlv1.Desired {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.unsent {
		return nil
	}
	s.unsent = false
	return s.desired
}

// desiredFor translates a pod's desired annotation for one of its generations; nil when there is none. Only the two generations of a handover that
// has begun get its key.
func desiredFor(keys identity.Keys, pod *corev1.Pod, d *axlev1.PodDesired, generation int64) *controlv1.Desired {
	if d == nil {
		return nil
	}
	out := &controlv1.Desired{Generation: d.Generation, Predecessor: d.Predecessor, Begin: d.Begin, Leave: d.Leave}
	if d.Begin && d.Predecessor != 0 && (generation == d.Generation || generation == d.Predecessor) {
		out.HandoverKey = keys.HandoverKey(string(pod.UID), d.Predecessor, d.Generation)
	}
	return out
}
