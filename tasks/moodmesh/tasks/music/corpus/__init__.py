"""The training sets, brought onto a grid and prepared (systems S16, evaluation §3)."""
