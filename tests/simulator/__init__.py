"""Many peers in one process, on a simulated clock, network and disk, all drawn from one seed.

The consensus modules are the real ones, with `--nodes` everything but sockets, clock and disk;
what is around them is here and is passed in:

    plan      what will go wrong in a run, drawn from its seed
    world     the clock and the queue of what happens when
    network   delay, loss, duplication, partitions
    disk      what survives a crash
    messages  what peers say to each other
    peer      runs one Consensus and executes its Ready in the node's order
    liars     byzantine members
    referee   what must hold: one order, every command once, silence when idle
    run       one run from plan to verdict
    wires     what a whole node has in place of sockets
    node      one whole node: real ledger, journal, engine and loop
    noderun   one run of whole nodes, with clients
    campaign  many runs, the table and the figures

`python -m tests.simulator --help` lists the switches.
"""
