"""`moodmesh bench roomsum`: what a sum costs its members, beside Flower's SecAgg+ and a plain SecAgg."""
