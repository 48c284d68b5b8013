"""Configuration: flag > environment `MOODMESH_SECTION__KEY` > TOML file > profile > default, and where each value came from.

Plain pydantic over four dictionaries: pydantic-settings merges the same sources but does not say which one won.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.home import HOME
from moodmesh.nodes.home import home as home
from moodmesh.nodes.permissions import HOURS

PREFIX = "MOODMESH_"
NOT_SETTINGS = {HOME, "MOODMESH_DATA"}
WhileActive = Literal["run", "limited", "no"]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """A table of the TOML file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSection(Section):
    """Who this device is to its owner."""

    name: str = Field("", description="Shown to paired peers; the host name when empty.", max_length=32)
    profile: Literal["phone", "laptop", "desktop", "server"] = Field("laptop", description="Defaults for a kind of device.")


class MeshSection(Section):
    """How peers are found and reached."""

    port: Port = Field(0, description="TCP port of the peer listener; 0 picks a free one at start.")
    hello_port: Port = Field(47077, description="UDP port of the hello.")
    interfaces: tuple[str, ...] = Field((), description="Interfaces to use; empty: all but containers, bridges and VPNs.")
    hello: bool = Field(True, description="Find peers by the UDP hello.")
    mdns: bool = Field(True, description="Find peers by mDNS.")
    bluetooth: Literal["active", "quiet", "off"] = Field(
        "active", description="Find and reach peers by Bluetooth LE; quiet: save power, and notice them later."
    )
    adapter: str = Field(
        "", description="Bluetooth adapter, like hci0; empty: of those that are on the one that can do most.", max_length=16
    )
    peers: tuple[str, ...] = Field((), description="HOST:PORT of paired peers that no radio finds.")


class PoolSection(Section):
    """Where attempts run."""

    kind: Literal["auto", "ray", "process"] = Field("auto", description="auto: Ray where it is installed, else subprocesses.")
    slots: int = Field(0, ge=0, le=256, description="Attempts at a time; 0: one per physical core less one.")
    eager: bool = Field(False, description="Start the engine with the daemon instead of with the first job.")
    idle_s: float = Field(300, ge=1, description="Stop the engine after so many idle seconds.")
    memory_mb: int = Field(0, ge=0, description="Memory that jobs may use; 0: what is free.")
    duty: float = Field(1.0, gt=0, le=1, description="Share of the time that workers may run.")
    address: str = Field("", description="Address of an existing Ray cluster to offer as one device.")
    allow_public: bool = Field(False, description="A node that joins a Ray cluster listens on every interface: agree to it.")
    token_file: str = Field("", description="File with the token of that Ray cluster.")


class PowerSection(Section):
    """When this device does not work for others."""

    battery_floor: int = Field(20, ge=0, le=100, description="Per cent below which no job is taken.")
    mains_only: bool = Field(False, description="Take jobs only on mains.")
    while_active: WhileActive = Field(
        "run",
        description="While somebody is at it: run; limited: of others own devices' jobs of at most 10 s; no: none of others.",
    )
    quiet_hours: str = Field("", description="Hours without jobs of others, like 23-7.", pattern=rf"^$|{HOURS}")


class JobsSection(Section):
    """What happens to jobs of this device."""

    wait_for_device_h: float = Field(24, gt=0, description="How long a job waits while no device can run it.")
    keep_days: float = Field(7, gt=0, description="How many days of a running daemon finished jobs are kept.")
    detached_s: float = Field(
        600, ge=0, description="How long work for a device that has gone may run on, on mains; on battery it never does."
    )
    packaged_models: bool = Field(True, description="Use the models that came with the package; otherwise peers' by hash.")
    benchmark: bool = Field(True, description="Measure each task once, for at most 5 s, before the first job.")


class PrivacySection(Section):
    """What may be told of this device's owner to rooms, and what is kept here."""

    hour_room: float = Field(4, gt=0, le=16, description="Epsilon per hour, while half of a room is honest.")
    day_room: float = Field(16, gt=0, le=64, description="Epsilon per day, while half of a room is honest.")
    hour_alone: float = Field(16, gt=0, le=64, description="Epsilon per hour, if everybody else were hostile.")
    day_alone: float = Field(48, gt=0, le=256, description="Epsilon per day, if everybody else were hostile.")
    circle: bool = Field(True, description="Whether circles, which tell exact means, may be joined at all.")
    keep_moods_days: float = Field(7, gt=0, le=366, description="How many days what you felt is kept on this device.")


class MusicSection(Section):
    """How music sounds on this device."""

    soundfont: str = Field(
        "", description="SoundFont (.sf2) that plays music; built-in: the voice that needs none; empty: the best that is found."
    )


class ApiSection(Section):
    """The local interface, beside the Unix socket."""

    port: Port = Field(0, description="Loopback TCP port of the local API; 0: none.")
    metrics: bool = Field(False, description="Serve /metrics to holders of the token.")


class LogSection(Section):
    """What the daemon says of itself."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line that is written.")


class DebugSection(Section):
    """For tests only."""

    crash_after: str = Field("", description="Kill the daemon right after this journal step is on disk.")


class Config(Section):
    """The whole configuration of one node."""

    node: NodeSection = NodeSection()
    mesh: MeshSection = MeshSection()
    pool: PoolSection = PoolSection()
    power: PowerSection = PowerSection()
    jobs: JobsSection = JobsSection()
    privacy: PrivacySection = PrivacySection()
    music: MusicSection = MusicSection()
    api: ApiSection = ApiSection()
    log: LogSection = LogSection()
    debug: DebugSection = DebugSection()


def keys() -> dict[str, tuple[type[Section], str]]:
    """Every known key, `section.name`, with the model that holds it."""
    found: dict[str, tuple[type[Section], str]] = {}
    for section, info in Config.model_fields.items():
        model = info.annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        found |= {f"{section}.{name}": (model, name) for name in model.model_fields}
    return found


def load(where: Path, flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> tuple[Config, dict[str, str]]:
    """The configuration of the node at `where` and the origin of each key; `UsageError` names what is wrong and where."""
    file = where / "moodmesh.toml"
    sources = [(str(file), _flatten(_toml(file), str(file))), ("environment", _environment(environ)), ("flag", dict(flags))]
    values = {key: value for _, found in sources for key, value in found.items()}
    origins = {key: origin for origin, found in sources for key in found}
    profile = str(values.get("node.profile", NodeSection().profile))
    for key, value in profile_defaults(profile).items():
        if key not in values:
            values[key], origins[key] = value, f"profile {profile}"
    for key in values:
        if key not in keys():
            raise UsageError(f"unknown setting {key!r} ({origins[key]}){_nearest(key)}")
    return _validate(values, origins), {key: origins.get(key, "default") for key in keys()}


def profile_defaults(profile: str) -> dict[str, Any]:
    """What a device profile sets, by key; nothing for an unknown one (validation names it)."""
    file = resources.files("moodmesh.configs").joinpath("profiles").joinpath(f"{profile}.toml")
    return _flatten(tomllib.loads(file.read_text()), profile) if file.is_file() else {}


def _validate(values: Mapping[str, Any], origins: Mapping[str, str]) -> Config:
    nested: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        section, name = key.split(".")
        nested.setdefault(section, {})[name] = value
    try:
        return Config.model_validate(nested)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        origin = origins.get(key, "default")
        raise UsageError(f"setting {key} = {first['input']!r} ({origin}): {first['msg'].lower()}") from None


def _toml(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check its permissions, or move it away") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}; mend that line or move the file away") from None


def _flatten(tables: Mapping[str, Any], origin: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"unknown setting {section!r} ({origin}): settings stand in sections{_nearest(section)}")
        flat |= {f"{section}.{key}": tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return flat


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in environ.items():
        if name.startswith(PREFIX) and name not in NOT_SETTINGS:
            key = name.removeprefix(PREFIX).lower().replace("__", ".", 1)
            model, field = keys().get(key, (Section, ""))
            is_list = field and "tuple" in str(model.model_fields[field].annotation)
            found[key] = tuple(part.strip() for part in value.split(",") if part.strip()) if is_list else value
    return found


def _nearest(key: str) -> str:
    close = difflib.get_close_matches(key, keys(), n=1, cutoff=0.4) or [k for k in keys() if k.endswith(key.split(".")[-1])]
    return f"; did you mean {close[0]}?" if close else "; `moodmesh config show` lists them all"
