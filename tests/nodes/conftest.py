"""Guards around every test here, and job ids as they were: a `World` draws its own."""

import pytest

from guards import no_thread_is_left, the_loop_is_not_blocked
from moodmesh.nodes.jobs import submitter

__all__ = ["no_thread_is_left", "the_loop_is_not_blocked"]


@pytest.fixture(autouse=True)
def _ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitter, "uuid", submitter.uuid)  # type: ignore[attr-defined]
