package webhook

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/axlemesh/axle/api/v1alpha1"
)

// Patch turns the pod that was asked for into the one that was rendered. It names just what rendering changes: a pod may have fields that this
// program does not know, from an API server that is newer, and they have to survive.
func Patch(before, after *corev1.Pod) []jsonpatch.Operation {
	p := &patch{}
	p.annotations(before.Annotations, after.Annotations)
	p.environments("/spec/containers", before.Spec.Containers, after.Spec.Containers, 0)
	p.initContainers(before.Spec.InitContainers, after.Spec.InitContainers)
	p.volumes(before.Spec.Volumes, after.Spec.Volumes)
	return p.operations
}

type patch struct {
	operations []jsonpatch.Operation
}

func (p *patch) add(path string, value any) {
	p.operations = append(p.operations, jsonpatch.NewOperation("add", path, value))
}

func (p *patch) remove(path string) {
	p.operations = append(p.operations, jsonpatch.NewOperation("remove", path, nil))
}

// escaped is a key as a part of a JSON pointer (RFC 6901).
func escaped(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

func (p *patch) annotations(before, after map[string]string) {
	const path = "/metadata/annotations"
	if before == nil && after != nil {
		p.add(path, after)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[key]; !ok {
			p.remove(path + "/" + escaped(key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(after)) {
		if value, ok := before[key]; !ok || value != after[key] {
			p.add(path+"/"+escaped(key), after[key])
		}
	}
}

// initContainers replaces the slots, which are the first that were rendered, and marks the others.
func (p *patch) initContainers(before, after []corev1.Container) {
	const path = "/spec/initContainers"
	slots := 0
	if len(after) > 1 && after[0].Name == v1alpha1.SlotA && after[1].Name == v1alpha1.SlotB {
		slots = 2
	}
	if slots > 0 && slots <= len(before) && reflect.DeepEqual(before[:slots], after[:slots]) {
		p.environments(path, before[slots:], after[slots:], slots)
		return
	}
	if len(before) == 0 {
		if slots > 0 {
			p.add(path, after)
		}
		return
	}
	for i, b := range slices.Backward(before) {
		if slices.ContainsFunc(after[slots:], func(c corev1.Container) bool { return c.Name == b.Name }) {
			continue
		}
		p.remove(fmt.Sprintf("%s/%d", path, i))
	}
	for i := range slots {
		p.add(fmt.Sprintf("%s/%d", path, i), after[i])
	}
	before = slices.DeleteFunc(slices.Clone(before), func(c corev1.Container) bool {
		return !slices.ContainsFunc(after[slots:], func(kept corev1.Container) bool { return kept.Name == c.Name })
	})
	p.environments(path, before, after[slots:], slots)
}

// environments changes the variables of containers; the first of them is at that index.
func (p *patch) environments(path string, before, after []corev1.Container, first int) {
	for i := range min(len(before), len(after)) {
		env := fmt.Sprintf("%s/%d/env", path, first+i)
		had, has := before[i].Env, after[i].Env
		if reflect.DeepEqual(had, has) {
			continue
		}
		if len(had) == 0 {
			p.add(env, has)
			continue
		}
		// Rendering takes variables out anywhere and puts some in front; what it leaves is the tail of both.
		kept := len(has)
		marks := 0
		for marks < len(has) && isMark(has[marks]) {
			marks++
		}
		kept -= marks
		for j, e := range slices.Backward(had) {
			if kept > 0 && reflect.DeepEqual(e, has[marks+kept-1]) {
				kept--
				continue
			}
			p.remove(fmt.Sprintf("%s/%d", env, j))
		}
		for j := range marks {
			p.add(fmt.Sprintf("%s/%d", env, j), has[j])
		}
	}
}

func isMark(e corev1.EnvVar) bool {
	return e.Name == v1alpha1.MarkerEnv || e.Name == v1alpha1.AppPortEnv
}

// volumes are only ever taken away anywhere and put in at the end.
func (p *patch) volumes(before, after []corev1.Volume) {
	const path = "/spec/volumes"
	if reflect.DeepEqual(before, after) {
		return
	}
	if len(before) == 0 {
		p.add(path, after)
		return
	}
	kept := 0
	var gone []int
	for i := range before {
		if kept < len(after) && reflect.DeepEqual(before[i], after[kept]) {
			kept++
			continue
		}
		gone = append(gone, i)
	}
	for _, i := range slices.Backward(gone) {
		p.remove(fmt.Sprintf("%s/%d", path, i))
	}
	for _, v := range after[kept:] {
		p.add(path+"/-", v)
	}
}
