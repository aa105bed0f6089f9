// Package change says how fields of a message's head are changed, whatever writes the message.
package change

// Op is what is done about a Field.
type Op uint8

// What is done. Names are compared without regard to case.
const (
	Set    Op = iota // takes away what there is of the name, and adds one
	Add              // adds one, whatever there is
	Absent           // adds one if there is none
	Remove           // takes away what there is
)

// Removes says that what there is of the name is taken away.
func (o Op) Removes() bool { return o == Set || o == Remove }

// Field is a change of one field.
type Field struct {
	Op    Op
	Name  string
	Value string // nothing for Remove
}
