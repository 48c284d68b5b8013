"""Engine, sensors, models, plug-ins and service of this device."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from moodmesh.nodes import activity, probe
from moodmesh.nodes.config import Config, PoolSection, WhileActive
from moodmesh.nodes.doctor.finding import Finding, broken, missing, ok
from moodmesh.nodes.pool.ray import installed
from moodmesh.tasks import registry
from moodmesh.tasks.errors import ModelDamaged
from moodmesh.tasks.models import Card, ModelStore
from moodmesh.tasks.task import Task

UNIT = "moodmesh.service"
PATH = ("/usr/local/bin", "/usr/bin", "/bin")  # as in the unit, after ~/.local/bin


def software(config: Config, home: Path) -> Iterator[Finding]:
    """Everything that is installed or built in."""
    tasks, faulty = registry.load()
    yield from _ray(config.pool)
    yield _gpu()
    yield _battery()
    yield _activity(config.power.while_active)
    yield from models(tasks, ModelStore(home / "models", packaged=config.jobs.packaged_models))
    yield from plugins(tasks, faulty)
    yield service()


def _ray(pool: PoolSection) -> Iterator[Finding]:
    if installed():
        yield ok("Ray", importlib.metadata.version("ray"))
    else:
        yield missing("Ray", "not installed: jobs run in subprocesses", "`pip install 'moodmesh[ray]'`")
    if pool.address and not pool.allow_public:
        remedy = "set pool.allow_public = true to agree, or clear pool.address"
        yield broken("Ray cluster", f"{pool.address}: a node that joins it listens on every interface", remedy)
    elif pool.address:
        detail = f"joined {pool.address} publicly: Ray listens on every interface of this device, as pool.allow_public agrees"
        yield Finding("Ray cluster", "ok", detail, "clear pool.address to leave it")


def _gpu() -> Finding:
    found = probe.gpus()
    return (
        ok("GPU", ", ".join(found)) if found else missing("GPU", "no NVIDIA GPU, driver or `gpu` extra", "jobs run on the CPU")
    )


def _battery() -> Finding:
    battery = probe.battery()
    if not battery.present:
        return ok("battery", "none: this device counts as on mains")
    if battery.percent is None:
        return missing(
            "battery", "its charge cannot be read: only short jobs are taken", "`upower -d` tells more; or plug it in"
        )
    return ok("battery", f"{battery.percent:.0f} %, {'on mains' if battery.mains else 'discharging'}")


def _activity(rule: WhileActive) -> Finding:
    """What the daemon would find; with `run` it never looks."""
    idle, subject = activity.idle_s(), "somebody at it"
    if idle is not None:
        now = f"no, for {idle:.0f} s" if idle >= activity.ACTIVE_S else "yes"
        return ok(subject, f"{now}; power.while_active is {rule}")
    if rule == "run":
        return ok(subject, "this system does not tell; power.while_active is run, so nobody asks")
    remedy = 'systemd-logind tells it on Linux: `loginctl show-session`; or set power.while_active = "run"'
    return missing(subject, f"this system does not tell: with power.while_active = {rule} it counts as limited", remedy)


def models(tasks: Mapping[str, Task], store: ModelStore) -> Iterator[Finding]:
    """Whether each model file is here, and is what its card says."""
    for task in tasks.values():
        for card in task.spec.cards().values():
            yield _model(card, store)


def _model(card: Card, store: ModelStore) -> Finding:
    file = store.find(card)
    if file is None:
        return missing(f"model {card.name}", "not on this device", f"`moodmesh models pull {card.name}`")
    try:
        store.path(card)
    except ModelDamaged:
        return broken(f"model {card.name}", f"{file} is not what its card says", _cure(card, file))
    except OSError as error:
        return broken(f"model {card.name}", f"{file} cannot be read: {error.strerror}", f"`chmod u+r '{file}'`")
    return ok(f"model {card.name}", f"{card.bytes / 1e6:.1f} MB, hash right")


def _cure(card: Card, file: Path) -> str:
    """A file of the package comes back with the package; another one from a peer."""
    pull = f"moodmesh models pull {card.name}"
    if card.folder is None or file.parent != card.folder:
        return f"`rm '{file}' && {pull}`"
    again = "install moodmesh again, from where it was installed: `pip install --force-reinstall --no-deps .`"
    return f"{again}; or, with a device linked that has it, `{pull}`"


def plugins(tasks: Mapping[str, Task], faulty: Mapping[str, str]) -> Iterator[Finding]:
    """Which tasks are installed, and which plug-ins cannot be loaded."""
    yield ok("tasks", ", ".join(sorted(tasks)) or "none")
    for name, why in sorted(faulty.items()):
        yield broken(f"plug-in {name}", why, "reinstall or remove the package that brings it")


def service() -> Finding:
    """Whether the systemd user unit is where systemd looks for it."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    places = [base / "systemd/user" / UNIT for base in (config, data, Path("/etc"), Path("/usr/share"), Path("/usr/lib"))]
    found = next((place for place in places if place.exists()), None)
    if found is not None:
        return ok("systemd unit", str(found))
    unit = Path(sys.prefix) / "share/systemd/user" / UNIT
    if not unit.exists():
        return missing("systemd unit", "not installed", "run `moodmesh up` yourself")
    start = f"systemctl --user enable --now '{unit}'"
    own = Path.home() / ".local/bin/moodmesh"
    if not shutil.which("moodmesh", path=os.pathsep.join(map(str, (own.parent, *PATH)))):
        start = f"mkdir -p '{own.parent}' && ln -sf '{Path(sys.prefix) / 'bin/moodmesh'}' '{own}' && {start}"
    return missing("systemd unit", "not installed", f"to start with your session: `{start}`")
