"""Every graph of a small mesh up to a depth, and every view of each.

A view is what some peer has of a graph: with each block, all that it refers to. It is a graph
itself, so a family that holds every graph holds every view. That leaves one thing to check, for
every graph and every block of it that nothing refers to: without that block, is what was decided
still decided, and the same? Any view becomes any larger one by one block at a time; so then no view
takes back what a smaller one decided, and two views of one graph, both parts of it, never differ.

`graphs` grows the families, `lenses` asks the real commit rule about each graph, `rule` says again
what it should answer, `mutants` are rules that are wrong.
"""
