"""The neural composers: what they are, what they learn from, and how they are trained (systems S17-S19); needs [train]."""
