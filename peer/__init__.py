"""A peer of the mesh: blocks, one order for all, the journal and the node."""
