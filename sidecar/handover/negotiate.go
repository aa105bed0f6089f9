package handover

import "fmt"

// Versions of the protocol that this build speaks. A release speaks its own and the one before it.
const (
	MinVersion = 1
	MaxVersion = 1
)

// FeatureParts says that batches may come in parts: several offers with one id, which are prepared one by one and committed
// together. Without it on both sides a batch is one offer.
const FeatureParts uint64 = 1 << 0

// Range is a span of versions, both ends included.
type Range struct{ Min, Max uint8 }

// Codec says which versions of one protocol's frozen state a process writes and reads. The names are opaque here.
type Codec struct {
	Name string
	Range
}

// Hello is how a side introduces itself. A candidate sends it; the donor compares it with its own.
type Hello struct {
	// From and To are the generations of this handover.
	From, To int64
	// Build names the binary, for people.
	Build string
	// Headroom is how many more descriptors the candidate can open; negative when it does not know.
	Headroom int64
	// Versions of the protocol.
	Versions Range
	// Features that the side knows, and those without which it refuses.
	Features, Required uint64
	Codecs             []Codec
}

// Plan is the donor's answer to Hello.
type Plan struct {
	// Version of the protocol that both write from now on.
	Version  uint8
	Features uint64
	Build    string
	Codecs   []CodecPlan
}

// CodecPlan says what becomes of one protocol's connections: they migrate with state of Version, or stay and drain.
type CodecPlan struct {
	Name    string
	Migrate bool
	Version uint8
}

// overlap is the highest version in both ranges, or 0.
func overlap(a, b Range) uint8 {
	v := min(a.Max, b.Max)
	if v < a.Min || v < b.Min {
		return 0
	}
	return v
}

// negotiate makes the plan for a candidate, or says why there is none. need is how many descriptors will move; a
// negative one is unknown.
func negotiate(donor, cand Hello, need int64) (Plan, error) {
	if cand.From != donor.From || cand.To != donor.To {
		return Plan{}, fmt.Errorf("candidate is for generations %d to %d, this handover is %d to %d",
			cand.From, cand.To, donor.From, donor.To)
	}
	v := overlap(donor.Versions, cand.Versions)
	if v == 0 {
		return Plan{}, fmt.Errorf("no common version: donor speaks %d to %d, candidate %d to %d",
			donor.Versions.Min, donor.Versions.Max, cand.Versions.Min, cand.Versions.Max)
	}
	if missing := donor.Required &^ cand.Features; missing != 0 {
		return Plan{}, fmt.Errorf("candidate lacks required features %#x", missing)
	}
	if missing := cand.Required &^ donor.Features; missing != 0 {
		return Plan{}, fmt.Errorf("donor lacks required features %#x", missing)
	}
	if need >= 0 && cand.Headroom >= 0 && cand.Headroom < need {
		return Plan{}, fmt.Errorf("candidate can open %d more descriptors, %d are to move", cand.Headroom, need)
	}
	p := Plan{Version: v, Features: donor.Features & cand.Features, Build: donor.Build}
	for _, c := range donor.Codecs {
		cp := CodecPlan{Name: c.Name}
		for _, o := range cand.Codecs {
			if o.Name == c.Name {
				cp.Version = overlap(c.Range, o.Range)
				cp.Migrate = cp.Version > 0
			}
		}
		p.Codecs = append(p.Codecs, cp)
	}
	return p, nil
}
