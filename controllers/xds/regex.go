package xds

import (
	"fmt"
	"regexp/syntax"

	axlev1 "github.com/axlemesh/axle/api/v1alpha1"
)

// maxProgram bounds what an expression compiles to, its counted repetitions written out: the bound that sidecars have.
const maxProgram = 500

// invalid says what is wrong with a rule that the schema cannot say; empty when nothing is.
func invalid(rule *axlev1.TrafficRule) string {
	for i := range rule.Spec.Rules {
		for j := range rule.Spec.Rules[i].Matches {
			if bad := invalidMatch(&rule.Spec.Rules[i].Matches[j]); bad != "" {
				return fmt.Sprintf("rules[%d].matches[%d].%s", i, j, bad)
			}
		}
	}
	return ""
}

func invalidMatch(m *axlev1.Match) string {
	if m.Path != nil {
		if bad := expression(axlev1.MatchType(m.Path.Type), m.Path.Value); bad != "" {
			return "path.value" + bad
		}
	}
	if m.Method != nil {
		if bad := expression(m.Method.Type, m.Method.Value); bad != "" {
			return "method.value" + bad
		}
	}
	for k, h := range m.Headers {
		if bad := expression(h.Type, h.Value); bad != "" {
			return fmt.Sprintf("headers[%d].value%s", k, bad)
		}
	}
	for k, q := range m.QueryParams {
		if bad := expression(q.Type, q.Value); bad != "" {
			return fmt.Sprintf("queryParams[%d].value%s", k, bad)
		}
	}
	return ""
}

// expression says what is wrong with a value to compare with, if it is a regular expression. Sidecars put it between anchors.
func expression(t axlev1.MatchType, value string) string {
	if t != axlev1.MatchRegularExpression {
		return ""
	}
	no := func(err error) string { return fmt.Sprintf(" is no RE2 regular expression: %v.", err) }
	if _, err := syntax.Parse(value, syntax.Perl); err != nil {
		return no(err)
	}
	parsed, err := syntax.Parse(`\A(?:`+value+`)\z`, syntax.Perl)
	if err != nil {
		return no(err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return no(err)
	}
	if n := len(prog.Inst); n > maxProgram {
		return fmt.Sprintf(" is an expression of %d instructions, at most %d: make it or its counted repetitions shorter.", n, maxProgram)
	}
	return ""
}
