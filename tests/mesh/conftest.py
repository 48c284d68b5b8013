"""Guards around every test here."""

from guards import no_thread_is_left, the_loop_is_not_blocked

__all__ = ["no_thread_is_left", "the_loop_is_not_blocked"]
