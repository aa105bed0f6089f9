package bootstrap

// AccessLog says which requests are logged, a line of JSON for each that has ended, and where to.
type AccessLog struct {
	// Path of the file, which is made when it is not there, and opened anew when it was renamed or removed; "stdout" is standard
	// output.
	Path string `json:"path"`
	// SamplePercent of the requests are looked at; 0 means all.
	SamplePercent float64 `json:"samplePercent,omitempty"`
	// OnlyErrors leaves out what has ended well. SlowerThan ("500ms") leaves out what was faster. With both, what is either
	// is logged.
	OnlyErrors bool   `json:"onlyErrors,omitempty"`
	SlowerThan string `json:"slowerThan,omitempty"`
}

// Stdout is the path of standard output.
const Stdout = "stdout"
