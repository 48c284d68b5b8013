"""Music from a mood: pieces on a grid of sixteenths, as MIDI and as tokens (systems S16)."""
