package proxy

import "testing"

func TestClassOf(t *testing.T) {
	cases := map[string]struct {
		spoken Spoken
		code   Code
		flag   Flag
		want   string
	}{
		"HTTP that is not found":         {SpokenHTTP1, CodeOf(404), FlagNone, ClassOK},
		"HTTP that has failed":           {SpokenHTTP2, CodeOf(500), FlagNone, ClassError},
		"HTTP that was cut off":          {SpokenHTTP1, CodeOf(200), FlagOf(FailUpstreamClosed), ClassError},
		"HTTP over a limit":              {SpokenHTTP1, CodeOf(429), FlagOf(FailLimit), ClassOK},
		"a fault that looks like one":    {SpokenHTTP1, CodeOf(503), FlagOf(FailFault), ClassError},
		"a call of gRPC":                 {SpokenGRPC, CodeOf(0), FlagNone, ClassOK},
		"one that is not implemented":    {SpokenGRPC, CodeOf(12), FlagNone, ClassError},
		"a Bolt request":                 {SpokenBolt, CodeOf(0), FlagNone, ClassOK},
		"a Bolt server that is busy":     {SpokenBolt, CodeOf(4), FlagNone, ClassError},
		"a Dubbo request":                {SpokenDubbo, CodeOf(20), FlagNone, ClassOK},
		"a Dubbo server that has failed": {SpokenDubbo, CodeOf(70), FlagNone, ClassError},
		"a oneway":                       {SpokenDubbo, 0, FlagNone, ClassOK},
		"a client that has gone":         {SpokenHTTP1, CodeOf(200), FlagClientGone, ClassGone},
		"no endpoint":                    {SpokenBolt, CodeOf(5), FlagOf(FailNoEndpoint), ClassError},
		"a status beyond the bound":      {SpokenHTTP1, codeOther, FlagNone, ClassError},
	}
	for name, tc := range cases {
		if got := ClassOf(tc.spoken, tc.code, tc.flag); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
