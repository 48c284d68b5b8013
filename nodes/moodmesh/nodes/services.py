"""Everything a running node is made of, as the API, the pairing flow and the doctor see it. Put together in `daemon.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.endpoint import Endpoint
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairs import Pairs
from moodmesh.nodes.access import Access
from moodmesh.nodes.activity import Activity
from moodmesh.nodes.blobs import Models, NodeBlobs
from moodmesh.nodes.capabilities import Capabilities
from moodmesh.nodes.config import Config
from moodmesh.nodes.jobs.escalation import Escalations
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.executor import Executor
from moodmesh.nodes.jobs.inspection import Inspection
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.moods.journal import MoodJournal
from moodmesh.nodes.moods.sharing import Sharing
from moodmesh.nodes.pairbook import PairBook
from moodmesh.nodes.peers import Peers
from moodmesh.nodes.pool.seam import TaskPool
from moodmesh.nodes.store import Store
from moodmesh.privacy.release.ledger import Ledger
from moodmesh.tasks.models import ModelStore
from moodmesh.tasks.task import Task


@dataclass
class Part:
    """The health of one part of the node: `ok`, `unavailable` (goes on without it) or `failed`; what to do about it."""

    state: str
    detail: str = ""
    remedy: str = ""


@dataclass
class Services:
    """One node, running. `health` has an entry for every optional part; `ready`: rates are measured, an eager pool is warm."""

    config: Config
    origins: Mapping[str, str]
    home: Path
    name: str
    clock: Clock
    identity: Identity
    store: Store
    pairs: Pairs
    book: PairBook
    access: Access
    tasks: Mapping[str, Task]
    broken: Mapping[str, str]
    models: ModelStore
    pulled: Models
    pool: TaskPool
    capabilities: Capabilities
    activity: Activity
    jobs: Jobs
    blobs: NodeBlobs
    events: Hub
    peers: Peers
    submitter: Submitter
    escalations: Escalations
    executor: Executor
    inspection: Inspection
    endpoint: Endpoint
    moods: MoodJournal
    sharing: Sharing
    ledger: Ledger
    started: float
    health: dict[str, Part] = field(default_factory=dict)
    ready: bool = False
