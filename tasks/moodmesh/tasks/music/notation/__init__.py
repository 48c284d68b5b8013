"""A piece of music as MIDI, as a score on the grid of sixteenths, and as tokens (systems S16)."""
