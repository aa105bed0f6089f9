package xds

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/go-logr/logr/testr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// everySetting has a value in each field.
func everySetting() Settings {
	some := intstr.FromString("0.25%")
	shedding := axlev1.OverloadShedding{ShedLow: new(int32(91)), ShedDefault: new(int32(92)), ShedHigh: new(int32(93))}
	steps := &axlev1.OverloadSteps{CloseIdle: new(int32(60)), RefuseClients: new(int32(0)), OverloadShedding: shedding}
	return Settings{
		AccessLog: &axlev1.AccessLog{Enabled: true, OnlyErrors: true, SlowerThan: &metav1.Duration{Duration: 500 * time.Millisecond}, SamplePercent: &some},
		Tracing:   &axlev1.Tracing{Endpoint: "http://otel.observability:4318/v1/traces", SamplePercent: &some},
		Overload:  &axlev1.Overload{Interval: &metav1.Duration{Duration: time.Minute}, Memory: steps, Descriptors: steps, CPU: &shedding},
		Service:   "pay",
	}
}

func listenersWith(t *testing.T, set Settings) []*listenerv3.Listener {
	t.Helper()
	all, err := Listeners(&axlev1.PodDesired{Generation: 1, Ports: []axlev1.PortSpec{{AppPort: 12200, Protocol: axlev1.ProtocolBolt}, {AppPort: 8080}}},
		nil, map[string]string{"app": "pay"}, set)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if err := l.ValidateAll(); err != nil {
			t.Errorf("listener %s: %v", l.GetName(), err)
		}
		typed, err := l.GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		if err := typed.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
			t.Errorf("filter of listener %s: %v", l.GetName(), err)
		}
	}
	return all
}

// TestEarlierSidecarsTakeListenersWithSettings: their releases look at no access_log and at nothing of a listener's metadata but labels, and
// reject a provider of spans. Without those, what they read is what they would get without settings.
func TestEarlierSidecarsTakeListenersWithSettings(t *testing.T) {
	plain, with := listenersWith(t, Settings{}), listenersWith(t, everySetting())
	for i, l := range with {
		if proto.Equal(l, plain[i]) {
			t.Errorf("listener %s has no settings", l.GetName())
		}
		delete(l.GetMetadata().GetFilterMetadata(), "axlemesh.io/tracing")
		delete(l.GetMetadata().GetFilterMetadata(), "axlemesh.io/overload")
		if len(l.GetMetadata().GetFilterMetadata()) == 0 {
			l.Metadata = nil
		}
		f := l.GetFilterChains()[0].GetFilters()[0]
		typed, err := f.GetTypedConfig().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		switch m := typed.(type) {
		case *hcmv3.HttpConnectionManager:
			m.AccessLog = nil
		case *tcpv3.TcpProxy:
			m.AccessLog = nil
		}
		f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed(typed)}
		if diff := cmp.Diff(plain[i], l, protocmp.Transform()); diff != "" {
			t.Errorf("listener %s has what earlier sidecars may not know (-plain +with):\n%s", l.GetName(), diff)
		}
	}
}

func TestSettingsInMetadata(t *testing.T) {
	cases := map[string]struct {
		set  Settings
		want string
	}{
		"none":                       {want: `{}`},
		"a log alone":                {set: Settings{AccessLog: &axlev1.AccessLog{Enabled: true}}, want: `{}`},
		"spans under the pod's name": {set: Settings{Tracing: &axlev1.Tracing{Endpoint: "http://a/b"}, Service: "pay"}, want: `{"axlemesh.io/tracing": {"endpoint": "http://a/b", "serviceName": "pay"}}`},
		"spans under the fleet's":    {set: Settings{Tracing: &axlev1.Tracing{Endpoint: "http://a/b", ServiceName: "all"}, Service: "pay"}, want: `{"axlemesh.io/tracing": {"endpoint": "http://a/b", "serviceName": "all"}}`},
		"the defaults of overloads":  {set: Settings{Overload: &axlev1.Overload{}}, want: `{"axlemesh.io/overload": {}}`},
		"no guard":                   {set: Settings{Overload: &axlev1.Overload{Disabled: true}}, want: `{"axlemesh.io/overload": {"disabled": true}}`},
		"each field, as in a bootstrap": {set: everySetting(), want: `{
			"axlemesh.io/tracing": {"endpoint": "http://otel.observability:4318/v1/traces", "serviceName": "pay", "samplePercent": 0.25},
			"axlemesh.io/overload": {"interval": "1m0s", "cpu": {"shedLow": 91, "shedDefault": 92, "shedHigh": 93},
				"memory": {"closeIdle": 60, "refuseClients": 0, "shedLow": 91, "shedDefault": 92, "shedHigh": 93},
				"descriptors": {"closeIdle": 60, "refuseClients": 0, "shedLow": 91, "shedDefault": 92, "shedHigh": 93}}}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var want map[string]map[string]any
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			for _, l := range listenersWith(t, tc.set) {
				got := map[string]map[string]any{}
				for key, s := range l.GetMetadata().GetFilterMetadata() {
					if key != "axlemesh.io" {
						got[key] = s.AsMap()
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", l.GetName(), diff)
				}
			}
		})
	}
}

func TestALogThatIsNotEnabled(t *testing.T) {
	set := everySetting()
	set.AccessLog.Enabled = false
	if logs := set.accessLog(); logs != nil {
		t.Errorf("%v", logs)
	}
}

func TestServiceOfSpans(t *testing.T) {
	owner := metav1.OwnerReference{Kind: "ReplicaSet", Name: "till-5d8f", Controller: new(true)}
	for name, tc := range map[string]struct {
		labels map[string]string
		owned  bool
		want   string
	}{
		"the recommended label": {map[string]string{"app.kubernetes.io/name": "pay", "app": "other"}, true, "pay"},
		"the usual one":         {map[string]string{"app": "shop"}, true, "shop"},
		"its Deployment":        {map[string]string{"pod-template-hash": "5d8f"}, true, "till"},
		"itself":                {nil, false, "till-5d8f-x"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "till-5d8f-x", Labels: tc.labels}}
			if tc.owned {
				pod.OwnerReferences = []metav1.OwnerReference{owner}
			}
			if got := SettingsOf(&axlev1.SidecarFleet{}, pod).Service; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestAFleetsSettingsReachItsPods, and a change of them, but no other change, wakes them.
func TestAFleetsSettingsReachItsPods(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, axlev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	pod := meshed(&axlev1.PodDesired{Fleet: "default", Generation: 1}, nil, false)
	pod.UID = "uid-0"
	stranger := meshed(&axlev1.PodDesired{Fleet: "another", Generation: 1}, nil, false)
	stranger.Name = "pay-1"
	fleet := &axlev1.SidecarFleet{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	ctx := context.Background()
	s := &Source{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(pod, stranger, fleet).Build(), Store: NewStore(testr.New(t))}

	logging := func() (n int) {
		t.Helper()
		name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
		if err := s.pod(ctx, name); err != nil {
			t.Fatal(err)
		}
		snapshot, err := s.Store.listeners.GetSnapshot("uid-0")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range snapshot.GetResources(resource.ListenerType) {
			typed, err := l.(*listenerv3.Listener).GetFilterChains()[0].GetFilters()[0].GetTypedConfig().UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			n += len(typed.(*hcmv3.HttpConnectionManager).GetAccessLog())
		}
		return n
	}
	if n := logging(); n != 0 {
		t.Errorf("%d listeners log", n)
	}
	if reqs := s.fleetPods(ctx, fleet); len(reqs) != 1 || reqs[0].Name != "pay-0" {
		t.Errorf("wakes %v", reqs)
	}
	woken := settingsChanged()
	before := fleet.DeepCopy()
	fleet.Spec.Version = "v2"
	if woken.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: fleet}) {
		t.Error("a new version wakes them")
	}
	fleet.Spec.Telemetry.AccessLog = &axlev1.AccessLog{Enabled: true}
	if !woken.Update(event.UpdateEvent{ObjectOld: before, ObjectNew: fleet}) {
		t.Error("a log does not wake them")
	}
	if err := s.Client.Update(ctx, fleet, &client.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := logging(); n != 2 {
		t.Errorf("%d listeners log, want 2", n)
	}
}
