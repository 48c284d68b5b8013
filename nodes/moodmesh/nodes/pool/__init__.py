"""Where work runs: one seam, `TaskPool`, in three forms (subprocesses, Ray, in memory)."""
