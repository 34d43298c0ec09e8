"""Sockets between peers: who may connect, what is said, how much of it."""
