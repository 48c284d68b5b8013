"""`bench roomscale`: whole rooms in memory, from 10 to 1000 people."""
