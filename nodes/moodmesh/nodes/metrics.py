"""/metrics in the Prometheus text format: counts and seconds, no names, codes, tokens, moods or file names (pairing §8).

prometheus_client is imported only when `api.metrics` is on. Numbers are read at each scrape from where they live anyway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from moodmesh.nodes.discovery import Discovery
from moodmesh.nodes.services import Services

Samples = list[tuple[tuple[str, ...], float]]


def routes(node: Services, discovery: Discovery) -> list[web.RouteDef]:
    """The route, when the configuration wants it."""
    if not node.config.api.metrics:
        return []
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import GaugeMetricFamily

    async def metrics(_: web.Request) -> web.Response:
        found = [*await node.store.read(_stored), *_live(node, discovery)]
        registry = CollectorRegistry()
        registry.register(_Once([_family(GaugeMetricFamily, *each) for each in found]))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/metrics", metrics)]


class _Once:
    """A collector of what was just read."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        """All of it."""
        return self._families


def _family(kind: Any, name: str, words: str, labels: tuple[str, ...], samples: Samples) -> Any:
    family = kind(f"moodmesh_{name}", words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _stored(db: sqlite3.Connection) -> list[tuple[str, str, tuple[str, ...], Samples]]:
    """From the journal: what is kept of `jobs.keep_days`."""
    jobs = db.execute("SELECT status, count(*) FROM job WHERE json_extract(spec, '$.parent') IS NULL GROUP BY status")
    attempts = db.execute("SELECT state, count(*) FROM attempt GROUP BY state")
    waits = db.execute("SELECT count(*), coalesce(sum(started - created), 0) FROM attempt WHERE started IS NOT NULL").fetchone()
    return [
        ("jobs", "Jobs of this device, by status", ("status",), [((row[0],), row[1]) for row in jobs]),
        ("attempts", "Attempts of those jobs, by outcome", ("outcome",), [((row[0],), row[1]) for row in attempts]),
        ("queue_attempts", "Attempts that started", (), [((), waits[0])]),
        ("queue_seconds", "Seconds from placing to starting, over those", (), [((), waits[1])]),
    ]


def _live(node: Services, discovery: Discovery) -> Iterator[tuple[str, str, tuple[str, ...], Samples]]:
    running, queue, free = node.executor.load()
    waiting = sum(count for count, _ in queue.values())
    yield "links", "Live links", (), [((), len(list(node.endpoint.links)))]
    yield "pairs", "Paired devices", (), [((), len(node.pairs))]
    yield "sightings", "Devices sighted now, by radio", ("radio",), [((r,), n) for r, n in discovery.sighted().items()]
    yield "unparsable_datagrams", "Hello datagrams that were none", (), [((), discovery.unparsable())]
    yield "strangers", "Unauthenticated connections", (), [((), node.endpoint.acceptor.strangers)]
    slots: Samples = [(("running",), float(len(running))), (("free",), float(free)), (("all",), float(node.pool.slots))]
    yield "pool_slots", "Slots of the pool", ("state",), slots
    yield "pool_queue", "Attempts that wait for a slot here", (), [((), waiting)]
    yield "uptime_seconds", "Seconds since the start", (), [((), node.clock.now() - node.started)]
