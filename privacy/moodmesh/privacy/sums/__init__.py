"""Sums that nobody's part can be told from: secret sharing over a prime field, of numbers that were randomised before."""
