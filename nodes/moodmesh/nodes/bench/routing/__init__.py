"""The routing benchmark: the daemon's own decisions in simulated fleets, against baselines, and replayed on real daemons."""
