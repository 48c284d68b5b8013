"""bench faults: real daemons under randomised schedules of faults, and what must hold of their journals after it."""
