package builders

// node are programs that come from npm.
var node = []Builder{}
