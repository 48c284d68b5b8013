"""What a paired peer may do here: rules per (peer, action) with limits, default deny (pairing §6). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HOUR, DAY = 3600.0, 86400.0
ACTIONS = ("jobs.inspect.own", "jobs.inspect.all", "room.invite", "mood.share", "own.device")
RESERVED = frozenset(action.split(".")[0] for action in ACTIONS)
TASK_NAME = re.compile(r"[a-z][a-z0-9_]*\.([a-z0-9_]+|\*)")
HOURS = r"^([01]?\d|2[0-4])-([01]?\d|2[0-4])$"


class Limits(BaseModel):
    """Limits of one rule; None means no limit. Seconds are compute seconds, `expires` seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrent: Annotated[int, Field(ge=1)] | None = None
    jobs_per_hour: Annotated[int, Field(ge=0)] | None = None
    seconds_per_day: Annotated[float, Field(ge=0)] | None = None
    bytes_per_day: Annotated[int, Field(ge=0)] | None = None
    largest_s: Annotated[float, Field(gt=0)] | None = None
    hours: Annotated[str, Field(pattern=HOURS)] | None = None
    battery_floor: Annotated[int, Field(ge=0, le=100)] | None = None
    mains_only: bool = False
    expires: float | None = None


Rules = Mapping[str, Limits]
NO_LIMITS = Limits()
FRIEND = Limits(concurrent=1, jobs_per_hour=60, seconds_per_day=600, bytes_per_day=64 * 2**20, largest_s=60)


def preset(name: str, tasks: Iterable[str]) -> dict[str, Limits]:
    """The rules of a preset; KeyError for an unknown one. `own` names every installed task, not a wildcard over peers."""
    families = sorted({task.split(".")[0] + ".*" for task in tasks})
    return {
        "none": {},
        "friend": {"emotion.*": FRIEND, "recommend.*": FRIEND},
        "own": dict.fromkeys((*families, "jobs.inspect.all", "own.device"), NO_LIMITS),
    }[name]


def known_action(action: str) -> bool:
    """Whether an action may stand in a rule: a fixed one, a task name, or a family like `emotion.*`; never `own.*`."""
    return action in ACTIONS or (bool(TASK_NAME.fullmatch(action)) and action.split(".")[0] not in RESERVED)


@dataclass(frozen=True)
class Charge:
    """What one attempt took or is predicted to take: wall time of its start, compute seconds, bytes in and out."""

    at: float
    seconds: float
    bytes: int
    running: bool


@dataclass(frozen=True)
class Conditions:
    """The device now: wall time (never less than any seen before), local hour, battery per cent, on mains."""

    now: float
    hour: int = 12
    battery: float | None = None
    mains: bool = True


def rule_name(rules: Rules, action: str) -> str | None:
    """The name of the rule that an action falls under: its own, else that of its family; None without one, or unknown."""
    names = (action,) if action in ACTIONS else (action, action.split(".")[0] + ".*")
    return next((name for name in names if name in rules), None) if known_action(action) else None


def rule_for(rules: Rules, action: str) -> Limits | None:
    """The rule that an action falls under; None without one."""
    name = rule_name(rules, action)
    return rules[name] if name else None


def denial(rules: Rules, action: str, charges: Iterable[Charge], job: Charge, here: Conditions) -> str | None:
    """Why an action is denied, by the name of the rule or limit; None when it is allowed. Unknown actions are denied."""
    limits = rule_for(rules, action)
    if limits is None:
        return "permission"
    if limits == NO_LIMITS:
        return None
    if _expired(limits, here):
        return "expired"
    return _over(limits, list(charges), job, here.now) or _closed(limits, here)


def closed(rules: Rules, action: str, here: Conditions) -> str | None:
    """What bars an action now whatever it costs, by the name of the rule or limit: also what runs already ends for it."""
    limits = rule_for(rules, action)
    if limits is None:
        return "permission"
    return "expired" if _expired(limits, here) else _closed(limits, here)


def _expired(limits: Limits, here: Conditions) -> bool:
    return limits.expires is not None and here.now >= limits.expires


def _over(limits: Limits, charges: list[Charge], job: Charge, now: float) -> str | None:
    hour = [c for c in charges if c.at > now - HOUR]
    day = [c for c in charges if c.at > now - DAY]
    checks: tuple[tuple[str, float, float | None], ...] = (
        ("concurrent", 1 + sum(c.running for c in charges), limits.concurrent),
        ("jobs_per_hour", 1 + len(hour), limits.jobs_per_hour),
        ("seconds_per_day", job.seconds + sum(c.seconds for c in day), limits.seconds_per_day),
        ("bytes_per_day", job.bytes + sum(c.bytes for c in day), limits.bytes_per_day),
        ("largest_s", job.seconds, limits.largest_s),
    )
    return next((name for name, used, limit in checks if limit is not None and used > limit), None)


def _closed(limits: Limits, here: Conditions) -> str | None:
    if limits.hours is not None and not in_hours(limits.hours, here.hour):
        return "hours"
    if limits.mains_only and not here.mains:
        return "mains_only"
    if limits.battery_floor and not here.mains and (here.battery or 0) < limits.battery_floor:
        return "battery_floor"
    return None


def in_hours(span: str, hour: int) -> bool:
    """Whether a local hour lies in a span like `8-18` or, over midnight, `23-7`; `0-24` is the whole day."""
    first, last = (int(part) % 24 for part in span.split("-"))
    return first <= hour < last if first < last else hour >= first or hour < last
