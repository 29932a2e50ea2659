"""Energy and machine time of runs: counters of the hardware, and their division among runs that overlap."""
