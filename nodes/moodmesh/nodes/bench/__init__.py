"""`moodmesh bench NAME`: timings of real daemons, each beside its reference in the same run; never assertions."""
