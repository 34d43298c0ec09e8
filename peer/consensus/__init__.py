"""The protocol: blocks in, one total order out. No I/O, no clock, no chance."""
