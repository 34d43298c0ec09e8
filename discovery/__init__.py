"""Finding peers through a Grenache Grape."""
