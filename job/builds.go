package job

// BuildLines are regular expressions for the lines that a program prints when a build
// begins and ends. They are matched with each line without the colours of a terminal.
type BuildLines struct{ Begins, Succeeds, Fails []string }

// None reports whether there are none.
func (l BuildLines) None() bool { return len(l.Begins)+len(l.Succeeds)+len(l.Fails) == 0 }
