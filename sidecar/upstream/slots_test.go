package upstream_test

import (
	"math/rand/v2"
	"testing"

	"github.com/axlemesh/axle/sidecar/upstream"
)

func TestAnIDIsFoundUntilItIsFreed(t *testing.T) {
	var s upstream.Slots[int]
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	live := map[uint32]int{}
	var freed []uint32
	for i := range 100_000 {
		if rnd.IntN(5) < 3 && len(live) < 500 {
			slot := s.Take()
			slot.Value = i
			if _, twice := live[slot.ID()]; twice {
				t.Fatalf("id %x was given out twice", slot.ID())
			}
			live[slot.ID()] = i
			continue
		}
		for id, want := range live {
			slot := s.Find(id)
			if slot == nil || slot.Value != want {
				t.Fatalf("Find(%x) = %v, want the slot of %d", id, slot, want)
			}
			s.Free(slot)
			s.Free(slot) // once is enough, twice does no harm
			delete(live, id)
			freed = append(freed, id)
			break
		}
	}
	for _, id := range freed[max(0, len(freed)-1000):] {
		if _, again := live[id]; s.Find(id) != nil && !again {
			t.Fatalf("id %x is found after it was freed", id)
		}
	}
	if s.Len() != len(live) {
		t.Errorf("Len = %d, want %d", s.Len(), len(live))
	}
}

func TestRestoreKeepsIDs(t *testing.T) {
	var old, fresh upstream.Slots[string]
	var slots []*upstream.Slot[string]
	for range 10 {
		slots = append(slots, old.Take())
	}
	for _, i := range []int{1, 4, 9} {
		old.Free(slots[i])
	}
	old.Take() // row 9 again, in its second generation
	var ids []uint32
	old.Each(func(s *upstream.Slot[string]) { ids = append(ids, s.ID()) })
	if !fresh.Restore(ids) {
		t.Fatalf("Restore(%v) refused what Slots wrote", ids)
	}
	for _, id := range ids {
		if fresh.Find(id) == nil {
			t.Errorf("id %x is not found after Restore", id)
		}
	}
	for range 5 {
		id := fresh.Take().ID()
		for _, known := range ids {
			if id == known {
				t.Fatalf("id %x was given out while it is in use", id)
			}
		}
	}
	if want := len(ids) + 5; fresh.Len() != want {
		t.Errorf("Len = %d, want %d", fresh.Len(), want)
	}
}

func TestRestoreRefusesTwoIDsInOneRow(t *testing.T) {
	if ids := []uint32{3, 3 + upstream.MaxSlots}; new(upstream.Slots[int]).Restore(ids) {
		t.Errorf("Restore(%x) = true", ids)
	}
}

func TestTakeAllocatesNothingAfterThePeak(t *testing.T) {
	var s upstream.Slots[int]
	s.Free(s.Take())
	if n := testing.AllocsPerRun(100, func() { s.Free(s.Take()) }); n != 0 {
		t.Errorf("%v allocations for one request, want 0", n)
	}
}
