"""The local API: a Unix socket (and loopback TCP on request) for the command line and the page (pairing §8)."""
