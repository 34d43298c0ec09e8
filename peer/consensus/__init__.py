"""The protocol: takes blocks, gives one total order of commands. No I/O, no clock, no
randomness."""
