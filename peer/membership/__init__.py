"""Who the members are: the mesh file and the keys."""
