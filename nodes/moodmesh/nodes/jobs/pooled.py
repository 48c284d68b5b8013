"""What a submitter holds back, as a message to one peer and back (routing §12): ages travel, each side has its own clock."""

from __future__ import annotations

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.desk import Desk
from moodmesh.nodes.messages import MOST_UNITS, HeapDoc, Pool, WaitingDoc, bounded_s
from moodmesh.nodes.placement.pull import Heap, Waiting

MOST_KINDS = 64


def pool_for(desk: Desk, peer: DeviceId, now: float) -> Pool:
    """What one peer may take, as a message."""
    held = [
        HeapDoc(
            task=task, variant=variant, count=heap.jobs, units=min(heap.units, MOST_UNITS), size=heap.size,
            oldest=(heap.oldest[0], bounded_s(now - heap.oldest[1])), newest=(heap.newest[0], bounded_s(now - heap.newest[1])),
        )
        for heap in desk.heaps_for(peer)[:MOST_KINDS]
        for task, _, variant in [heap.kind.partition("/")]
    ]  # fmt: skip
    waiting = [
        WaitingDoc(task=task, variant=variant, units=w.units, input_bytes=w.input_bytes, remaining_s=bounded_s(w.remaining_s))
        for w in desk.waiting_for(peer)[:MOST_KINDS]
        for task, _, variant in [w.kind.partition("/")]
    ]
    return Pool(held=held, waiting=waiting)


def heard(pool: Pool, now: float) -> tuple[list[Heap], list[Waiting]]:
    """What a peer said that may be taken there."""
    waiting = [Waiting(f"{w.task}/{w.variant}", w.units, w.input_bytes, w.remaining_s) for w in pool.waiting]
    return [_heap(doc, now) for doc in pool.held], waiting


def _heap(doc: HeapDoc, now: float) -> Heap:
    oldest, newest = (doc.oldest[0], now - doc.oldest[1]), (doc.newest[0], now - doc.newest[1])
    return Heap(f"{doc.task}/{doc.variant}", doc.count, doc.units, doc.size, oldest, newest)
