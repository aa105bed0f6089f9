package bootstrap

// DefaultTerminationGraceSeconds is Kubernetes' own default.
const DefaultTerminationGraceSeconds = 30

// Defaulted returns b with every empty field that has a default filled in; cpus is how many this process may use.
func (b Bootstrap) Defaulted(cpus int) Bootstrap {
	if b.Admin == "" {
		b.Admin = DefaultAdminAddress
	}
	if b.MeshAPI == "" {
		b.MeshAPI = DefaultMeshAPIAddress
	}
	if b.Handover.Socket == "" {
		b.Handover.Socket = DefaultHandoverSocket
	}
	if b.Loops == 0 {
		b.Loops = max(1, min(2, cpus))
		if b.Node.InPlace {
			b.Loops = 1
		}
	}
	if b.TerminationGraceSeconds == 0 {
		b.TerminationGraceSeconds = DefaultTerminationGraceSeconds
	}
	return b
}
