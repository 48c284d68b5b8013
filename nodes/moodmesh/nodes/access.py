"""The rules and quotas of paired peers, kept in the store and checked at reservation and at start (pairing §6)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.permissions import DAY, NO_LIMITS, Charge, Conditions, Limits, closed, denial, rule_for, rule_name
from moodmesh.nodes.store import Store

OWN = "own.device"
_CLOCK = "highest_wall"


class Access:
    """Default deny; every change is on disk before the call returns, and `changed` is told."""

    def __init__(self, store: Store, wall: Callable[[], float], conditions: Callable[[], Conditions]) -> None:
        self._store, self._wall, self._conditions = store, wall, conditions
        self._rules: dict[DeviceId, dict[str, Limits]] = {}
        self._charges: dict[tuple[DeviceId, str], dict[str, Charge]] = {}
        self._highest = 0.0
        self.changed: Callable[[DeviceId], None] = lambda peer: None

    async def load(self) -> None:
        """Read rules and charges; nothing that was running survived the restart."""

        def read(db: sqlite3.Connection) -> None:
            for row in db.execute("SELECT device, action, limits FROM rule"):
                self._rules.setdefault(row["device"], {})[row["action"]] = Limits.model_validate_json(row["limits"])
            for row in db.execute("SELECT * FROM usage"):
                charges = self._charges.setdefault((row["device"], row["action"]), {})
                charges[row["attempt"]] = Charge(row["charged"], row["seconds"], row["bytes"], False)
            found = db.execute("SELECT value FROM note WHERE key=?", (_CLOCK,)).fetchone()
            self._highest = float(found["value"]) if found else 0.0

        await self._store.read(read)

    def now(self) -> float:
        """Wall seconds that never go back, so that a clock set back refills no quota."""
        self._highest = max(self._highest, self._wall())
        return self._highest

    def rules(self, peer: DeviceId) -> dict[str, Limits]:
        """The rules of a peer by action."""
        return dict(self._rules.get(peer, {}))

    def owns(self, peer: DeviceId) -> bool:
        """Whether the owner counts that device among their own."""
        return OWN in self._rules.get(peer, {})

    def may(self, peer: DeviceId, action: str) -> bool:
        """Whether a rule permits the action at all, however much of its quota is left."""
        limits = rule_for(self._rules.get(peer, {}), action)
        return limits is not None and (limits.expires is None or self.now() < limits.expires)

    def longest_s(self, peer: DeviceId, action: str) -> float | None:
        """The longest attempt that its rule allows; None without a limit."""
        limits = rule_for(self._rules.get(peer, {}), action)
        return None if limits is None else limits.largest_s

    def denial(self, peer: DeviceId, action: str, seconds: float, size: int) -> str | None:
        """The rule or limit that bars an action of this cost now; None when it is allowed."""
        rules = self._rules.get(peer, {})
        if rule_for(rules, action) == NO_LIMITS:
            return None
        here = replace(self._conditions(), now=self.now())
        return denial(rules, action, self._charged(peer, action), Charge(here.now, seconds, size, True), here)

    def closed(self, peer: DeviceId, action: str) -> str | None:
        """The rule or limit that bars an action now whatever it costs; None when what runs may go on."""
        rules = self._rules.get(peer, {})
        if rule_for(rules, action) == NO_LIMITS:
            return None
        return closed(rules, action, replace(self._conditions(), now=self.now()))

    def _charged(self, peer: DeviceId, action: str) -> list[Charge]:
        """What was charged to the rule of an action: a family's limits hold for all its tasks together."""
        rules = self._rules.get(peer, {})
        name = rule_name(rules, action)
        same = [c for (p, a), c in self._charges.items() if p == peer and rule_name(rules, a) == name]
        return [charge for charges in same for charge in charges.values()]

    async def allow(self, peer: DeviceId, rules: dict[str, Limits], *, instead: bool = False) -> None:
        """Add or replace rules; `instead` of all that there were."""

        def write(db: sqlite3.Connection) -> None:
            if instead:
                db.execute("DELETE FROM rule WHERE device=?", (peer,))
            for action, limits in rules.items():
                row = (peer, action, limits.model_dump_json(exclude_defaults=True))
                db.execute("INSERT OR REPLACE INTO rule VALUES (?, ?, ?)", row)

        await self._store.write("access.allow", write)
        self._rules[peer] = {**({} if instead else self._rules.get(peer, {})), **rules}
        self.changed(peer)

    def forget(self, peer: DeviceId) -> None:
        """The peer was unpaired: its rules and charges left the store with the pair, and leave memory with this."""
        self._rules.pop(peer, None)
        for key in [key for key in self._charges if key[0] == peer]:
            del self._charges[key]

    async def deny(self, peer: DeviceId) -> None:
        """Drop every rule of a peer."""
        await self._store.write("access.deny", lambda db: db.execute("DELETE FROM rule WHERE device=?", (peer,)))
        self._rules.pop(peer, None)
        self.changed(peer)

    async def charge(self, peer: DeviceId, action: str, attempt: str, seconds: float, size: int, *, running: bool) -> None:
        """Count an attempt at its start with the predicted cost, and again at its end with the true one; where the rule
        has limits."""
        limited = rule_for(self._rules.get(peer, {}), action) not in (None, NO_LIMITS)
        if not limited and attempt not in self._charges.get((peer, action), {}):
            return
        charges, now = self._charges.setdefault((peer, action), {}), self.now()
        at = charges[attempt].at if attempt in charges else now
        for old in [key for key, charge in charges.items() if charge.at < now - DAY and not charge.running]:
            del charges[old]
        charges[attempt] = Charge(at, seconds, size, running)

        def write(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM usage WHERE charged < ?", (self._highest - DAY,))
            row = (peer, action, at, seconds, size, attempt)
            db.execute(
                "INSERT OR REPLACE INTO usage (device, action, charged, seconds, bytes, attempt) VALUES (?, ?, ?, ?, ?, ?)",
                row,
            )
            db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (_CLOCK, str(self._highest)))

        await self._store.write("access.charge", write)
