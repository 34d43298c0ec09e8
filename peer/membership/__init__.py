"""The members of a mesh: the mesh file and the keys."""
