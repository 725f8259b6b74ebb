// Package builders knows programs that build sites: how they are started, what they
// print when a build begins and ends, and how to see that a project uses them. It is
// a table, and does nothing. Each family of programs has a file of its own.
package builders

import "slices"

// A Builder is what is known of a program. Paths are relative to the directory of the
// project, in which the program is started.
type Builder struct {
	Name string // as in builder = "hugo"; a lower-case word

	// Run is the command. It builds, and goes on to build again whenever a source
	// changes, unless Once is set. There is none if nobody can guess the arguments.
	Run []string

	// Example is a command with usual arguments where there is no Run.
	Example []string

	// Once says that the program has no such mode, or none without a server of its
	// own: Run builds once and ends, and is run whenever a file changes that matches
	// Match.
	Once bool

	// Match are patterns, as in match of execlogd.toml(5), of the files whose change
	// starts the program again, since it does not read them again itself: its own
	// configuration. With Once they are the sources; none is all files but Output.
	Match []string

	// Begins, Succeeds and Fails are regular expressions for the lines that the
	// program prints when a build begins and ends. They are matched with each line
	// without the colours of a terminal; any one of a list will do. A build that a
	// line of Fails was printed in has failed, whatever follows; the lines after that
	// belong to it until one of Succeeds comes, or none for a moment. A group named file
	// names the one that is built where a program builds several, each by itself.
	// With Once they are not used: the exit status says it.
	Begins, Succeeds, Fails []string

	// Unsure says that the program may be another one, of which no such line ever comes.
	Unsure bool

	// Output is the directory that the program writes the site to if its
	// configuration does not say otherwise; empty where there is no usual one.
	Output string

	// Files and Packages say that a project uses the program: one of the Files
	// (patterns of path.Match, for names in the directory of the project) exists, or
	// one of the Packages is among the dependencies of its package.json.
	Files, Packages []string

	// Script is the name of a script in package.json that says so, if there is one.
	Script string

	// Version is that of the program with which the tests have passed.
	Version string
}

// All returns what is known, in the order in which a project is to be looked at: a
// program that builds a whole site comes before one that may be a part of that.
func All() []Builder { return slices.Concat(other, node) }

// Find returns what is known of a program.
func Find(name string) (b Builder, ok bool) {
	all := All()
	i := slices.IndexFunc(all, func(b Builder) bool { return b.Name == name })
	if i < 0 {
		return Builder{}, false
	}
	return all[i], true
}

// Names returns the names of all, sorted.
func Names() (names []string) {
	for _, b := range All() {
		names = append(names, b.Name)
	}
	slices.Sort(names)
	return names
}
