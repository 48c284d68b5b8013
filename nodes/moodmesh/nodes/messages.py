"""Every message of the job protocol between two nodes (routing §12): strict, versioned by `welcome`, size-capped.

S is the submitter, E the executor. The kind travels in front of the body, so that a link can cap a message before parsing it.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from moodmesh.mesh.seams import Envelope
from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES

INLINE_BYTES = 64 * 1024
KIB = 1024
MAX_LIVE = 4096
LONGEST_S, MOST_UNITS = 1e9, 1e12

JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Number = Annotated[int, Field(ge=1, lt=2**31)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Logarithm = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]
Variance = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Small = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Units = Annotated[float, Field(gt=0, le=MOST_UNITS, allow_inf_nan=False)]
Wall = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Line = Annotated[str, Field(max_length=2000)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def bounded_s(value: float) -> float:
    """A predicted time as messages carry it: what is beyond thirty years is thirty years."""
    return min(value, LONGEST_S)


class Part(BaseModel):
    """Anything inside a message."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Message(Part):
    """One message; `cap` is the largest body in bytes that is parsed at all."""

    cap: ClassVar[int] = 16 * KIB
    kind: str

    def envelope(self) -> Envelope:
        """The message as it travels."""
        return Envelope(self.kind, self.model_dump_json(exclude_none=True, exclude={"kind"}).encode())


class Blob(Part):
    """Bytes that travel: inline (base64) up to 64 KiB, else by the id of an artefact."""

    size: Count
    inline: Annotated[str, Field(max_length=INLINE_BYTES * 4 // 3 + 4)] | None = None
    id: Digest | None = None

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """An inline blob; the data must be at most `INLINE_BYTES`."""
        assert len(data) <= INLINE_BYTES
        return cls(size=len(data), inline=base64.b64encode(data).decode())

    def data(self) -> bytes:
        """The inline bytes; ValueError when they are not what `size` says."""
        found = base64.b64decode(self.inline or "", validate=True)
        if len(found) != self.size:
            raise ValueError("a blob is not as long as it says")
        return found


class VariantDoc(Part):
    """What a device says of one variant: needs, and learned seconds per unit (mean; mean and variance of the logarithm)."""

    quality: Small
    memory_mb: Count
    mean: Seconds
    log_mean: Logarithm
    log_var: Variance
    count: Count
    guess: bool
    within_reach: bool = True
    load_s: Seconds
    fetch_bytes: Count = 0


class TaskDoc(Part):
    """A task that the receiver may use here."""

    version: Small
    variants: dict[Name, VariantDoc]


class Capability(Message):
    """Static and measured part of a capability document, filtered for its receiver (routing §3)."""

    cap = 64 * KIB
    kind: Literal["capability"] = "capability"
    revision: Count
    engine: Annotated[str, Field(max_length=32)]
    slots: Annotated[int, Field(ge=0, le=4096)]
    own: bool
    cores: Count
    gpus: list[Annotated[str, Field(max_length=64)]]
    tasks: dict[Name, TaskDoc]

    def differs(self, told: Capability, share: float = 0.05) -> bool:
        """Whether it says something else than an earlier document, a rate or a load time by more than `share`."""
        if self._coarse() != told._coarse():
            return True
        pairs = [(v, told.tasks[task].variants[name]) for task, doc in self.tasks.items() for name, v in doc.variants.items()]
        return any(
            abs(v.mean - was.mean) > share * was.mean or abs(v.load_s - was.load_s) > share * was.load_s for v, was in pairs
        )

    def _coarse(self) -> Capability:
        """Without the revision and whatever is measured."""
        blank = {"mean": 0.0, "log_mean": 0.0, "log_var": 0.0, "count": 0, "load_s": 0.0}
        tasks = {
            task: doc.model_copy(update={"variants": {n: v.model_copy(update=blank) for n, v in doc.variants.items()}})
            for task, doc in self.tasks.items()
        }
        return self.model_copy(update={"revision": 0, "tasks": tasks})


Power = Literal["ok", "limited", "no", "unknown"]
Active = Literal["limited", "no", "unknown"]


class Dynamic(Message):
    """How busy a device is: seconds and counts, never jobs (routing §3). `queue`: class -> (count, seconds). `active`: what its
    owner bars because somebody is at it; nothing where he bars nothing."""

    cap = 4 * KIB
    kind: Literal["dynamic"] = "dynamic"
    revision: Count
    valid_s: Seconds
    free_slots: Count
    running: list[Seconds]
    queue: dict[str, tuple[Count, Seconds]]
    power: Power
    quiet: bool
    active: Active | None = None
    memory_free_mb: Count
    disk_free_mb: Count
    loaded: list[str]
    start_s: Seconds = 0.0


class Attempted(Message):
    """Base of every message about one attempt: the job and the fence."""

    job: JobId
    attempt: Number


class Reserve(Attempted):
    """S: may this attempt run at your place? It carries no data of the job."""

    kind: Literal["reserve"] = "reserve"
    task: Name
    version: Small
    variant: Name
    units: Units
    input_bytes: Count
    result_bytes: Count
    personal: bool
    waited: Seconds
    taken: bool = False


class Granted(Attempted):
    """E: a place is booked; send again when the attempt comes near the head of the queue."""

    kind: Literal["granted"] = "granted"
    start_in_s: Seconds


class RefusedReservation(Attempted):
    """E: no; the gate that barred it."""

    kind: Literal["refused"] = "refused"
    gate: Name
    detail: Line = ""


class Start(Attempted):
    """S: here is the request; run it when its turn comes. Nobody wants its result `expire_s` after this message was made.

    `parts`: the answer is wanted part by part, and these are here already (`jobs.parts.join`).
    """

    cap = 384 * KIB
    kind: Literal["start"] = "start"
    params: dict[str, Any]
    input: Blob
    seed: Seed
    expire_s: Seconds | None = None
    parts: Blob | None = None


class StartedAt(Attempted):
    """E: the task's first line ran `ago_s` seconds before this message was made."""

    kind: Literal["started"] = "started"
    load_s: Seconds
    ago_s: Seconds


class ProgressNow(Attempted):
    """E: share done."""

    kind: Literal["progress"] = "progress"
    share: Annotated[float, Field(ge=0, le=1)]


class LogLine(Attempted):
    """E: one line of the task, numbered from 1 without gaps."""

    kind: Literal["log"] = "log"
    seq: Count
    line: Line


class StreamedPart(Attempted):
    """E: the next part of the answer, counted from 0; said again until it is acknowledged."""

    cap = 96 * KIB
    kind: Literal["part"] = "part"
    index: Annotated[int, Field(ge=0, lt=MOST_PARTS)]
    data: Annotated[str, Field(max_length=PART_BYTES * 4 // 3 + 4)]

    @classmethod
    def of(cls, job: str, attempt: int, index: int, data: bytes) -> StreamedPart:
        """With the bytes as base64."""
        return cls(job=job, attempt=attempt, index=index, data=base64.b64encode(data).decode())

    def content(self) -> bytes:
        """The bytes; ValueError when there are none, or too many."""
        found = base64.b64decode(self.data, validate=True)
        if len(found) > PART_BYTES:
            raise ValueError(f"a part has at most {PART_BYTES} bytes")
        return found


class PartAck(Attempted):
    """S: so many parts are on disk, the first ones; they need not be sent again."""

    kind: Literal["part_ack"] = "part_ack"
    held: Annotated[int, Field(ge=0, le=MOST_PARTS)]


class Provenance(Part):
    """Who made a result, how; signed by the executor's device key."""

    device: Annotated[str, Field(max_length=64)]
    engine: Annotated[str, Field(max_length=32)]
    pid: Count
    task: Name
    version: Small
    variant: Name
    model: Annotated[str, Field(max_length=200)]
    model_sha256: Annotated[str, Field(max_length=64)]
    seed: Seed
    input_sha256: Digest
    output_sha256: dict[str, Digest]
    started: Wall
    finished: Wall
    seconds: Seconds
    load_s: Seconds


FailReason = Literal["invalid_input", "task_error", "out_of_memory", "worker_lost", "transient", "lost"]


class Result(Attempted):
    """E: how the attempt ended; sent until acknowledged. `value` is JSON, an output signed like every other."""

    cap = 4096 * KIB
    kind: Literal["result"] = "result"
    outputs: dict[str, Blob] | None = None
    provenance: Provenance | None = None
    signature: Annotated[str, Field(max_length=128)] = ""
    reason: FailReason | None = None
    message: Line = ""


class ResultAck(Attempted):
    """S: committed or dropped; forget it."""

    kind: Literal["result_ack"] = "result_ack"


class Cancel(Attempted):
    """S: end this attempt and forget it."""

    kind: Literal["cancel"] = "cancel"


class CancelledAttempt(Attempted):
    """E: the attempt will not deliver; by `cancel`, or because this device gave it back."""

    kind: Literal["cancelled"] = "cancelled"
    reason: Annotated[str, Field(max_length=64)] = "cancel"


class Withdraw(Attempted):
    """S: give it back unless it has started; answered by `withdrawn`, or by `started` again."""

    kind: Literal["withdraw"] = "withdraw"


class Withdrawn(Attempted):
    """E: it had not started and never will."""

    kind: Literal["withdrawn"] = "withdrawn"


class HeapDoc(Part):
    """What a submitter holds back of one class: count, units, bytes in and out; of its oldest and newest job the
    units and the age in seconds."""

    task: Name
    variant: Name
    count: Annotated[int, Field(ge=1, le=10**6)]
    units: Units
    size: Count
    oldest: tuple[Units, Seconds]
    newest: tuple[Units, Seconds]


class WaitingDoc(Part):
    """The job of a class that has longest to go in another device's queue; `remaining_s`: predicted, until it is done there."""

    task: Name
    variant: Name
    units: Units
    input_bytes: Count
    remaining_s: Seconds


class Pool(Message):
    """S: what I hold back or have waiting elsewhere that may run at your place; the newest replaces the one before."""

    cap = 64 * KIB
    kind: Literal["pool"] = "pool"
    held: Annotated[list[HeapDoc], Field(max_length=64)] = []
    waiting: Annotated[list[WaitingDoc], Field(max_length=64)] = []


class Take(Message):
    """E: I have a free slot: reserve your oldest or newest job of this class here, or the `queued` one with longest to go."""

    kind: Literal["take"] = "take"
    task: Name
    variant: Name
    newest: bool = False
    queued: bool = False


class Live(Part):
    """An attempt in a heartbeat; E says when one that waits will start."""

    job: JobId
    attempt: Number
    phase: Annotated[str, Field(max_length=16)]
    start_in_s: Seconds | None = None


class Heartbeat(Message):
    """Both: I am here. `mine` I wait for (S), `yours` I hold (E); `echo` answers the other side's last `seq` after `held_s`.

    Its cap holds `MAX_LIVE` attempts in each direction.
    """

    cap = 1024 * KIB
    kind: Literal["heartbeat"] = "heartbeat"
    seq: Count
    echo: Count
    held_s: Seconds
    mine: list[Live]
    yours: list[Live]


class Unsupported(Message):
    """Both: that kind means nothing to me."""

    kind: Literal["unsupported"] = "unsupported"
    what: Annotated[str, Field(max_length=64)]


class SeekModel(Message):
    """Either: have you a model file with this SHA-256?"""

    kind: Literal["seek_model"] = "seek_model"
    sha256: Digest


class HaveModel(Message):
    """Either: fetch it as this artefact; without one: no, or not for you."""

    kind: Literal["have_model"] = "have_model"
    sha256: Digest
    artefact: Digest | None = None


class Rights(Message):
    """Both: what you may do here, whenever it changes."""

    kind: Literal["rights"] = "rights"
    actions: list[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.*-]{0,63}$")]]
    name: Annotated[str, Field(max_length=32)]


class RoomWord(Message):
    """Both: bytes of a room, over a numbered way; `opened`: whether its sender opened it; `end`: it is the last."""

    cap: ClassVar[int] = 1536 * KIB
    kind: Literal["room"] = "room"
    way: Number
    opened: bool
    data: Annotated[str, Field(max_length=1400 * KIB)]
    end: bool = False


class RoomMember(Message):
    """Both: the sender is in the room of this tag, in this epoch, and with this key once it has one; `proof`: its own word for
    that (room-mood §3). `left`: it is in that circle no more."""

    kind: Literal["room_member"] = "room_member"
    tag: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    epoch: Annotated[int, Field(ge=0, lt=2**40)]
    key: Digest | None = None
    proof: Annotated[str, Field(pattern=r"^([0-9a-f]{128})?$")] = ""
    left: bool = False


class MoodTold(Message):
    """Both: how the sender's owner feels, as a `SharedMood` in its JSON; empty: nothing is told any more (room-mood §2)."""

    kind: Literal["mood"] = "mood"
    mood: Annotated[str, Field(pattern=r'^(\{"valence":[0-2],"arousal":[0-2]\})?$')]


class RoomInvite(Message):
    """Both: come to this room; `code` is the invitation as text."""

    kind: Literal["room_invite"] = "room_invite"
    code: Annotated[str, Field(max_length=4096)]


# -- a job as another device may see it (routing §8): no input, no result, no value of a parameter --------------------------

Words = Annotated[str, Field(max_length=200)]
Device = Annotated[str, Field(max_length=64)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
SEEN_ATTEMPTS, SEEN_ROWS, SEEN_LINES, SEEN_TERMS, SEEN_PARAMS, SEEN_JOBS = 12, 16, 20, 16, 64, 50


class SeenGate(Part):
    """Why a device was barred."""

    name: Name
    detail: Words


class SeenRow(Part):
    """One device in a table of `job explain`: its terms in seconds, or its gate."""

    device: Device
    name: Words
    variant: Name | None = None
    chosen: bool
    terms: Annotated[dict[Name, Finite], Field(max_length=SEEN_TERMS)]
    notes: Annotated[dict[Name, bool | Words], Field(max_length=SEEN_TERMS)]
    gate: SeenGate | None = None


class SeenTable(Part):
    """The first rows of such a table."""

    why: Words
    rows: Annotated[list[SeenRow], Field(max_length=SEEN_ROWS)]


class SeenAttempt(Part):
    """One try of a job."""

    number: Number
    device: Device
    name: Words
    variant: Name
    state: Annotated[str, Field(max_length=16)]
    created: Wall
    reserved: Wall | None = None
    started: Wall | None = None
    finished: Wall | None = None
    message: Words = ""
    worked: Seconds | None = None
    table: SeenTable | None = None


class SeenLine(Part):
    """One line of its log."""

    attempt: Number
    seq: Count
    at: Wall
    line: Words


class SeenEscalation(Part):
    """Of a job that two variants answer: the share that may go to the large one, what that is worth (`figures`, in `measure`),
    and once it is answered, what went there and which devices answered."""

    share: Annotated[float, Field(gt=0, le=1)]
    measure: Words
    figures: Annotated[dict[Annotated[str, Field(max_length=130)], Finite], Field(max_length=3)]
    sent: Count | None = None
    of: Count | None = None
    why: Words = ""
    ran_on: Words = ""


class Seen(Part):
    """A job: what it is, how it stands, and what it takes to submit it anew. Its owner is the peer that says so.

    `escalation`: two variants answer it; `parent`: the job that this one is a part of. `warrant`: the owner's signature that
    the receiver may stop it while the owner is away.
    """

    id: JobId
    task: Name
    version: Small
    personal: bool
    variant: Name | None = None
    on: Device | None = None
    quality: Literal["best", "fast"]
    by_s: Seconds | None = None
    expire_s: Seconds | None = None
    wait_s: Seconds | None = None
    seed: Seed
    given: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=SEEN_PARAMS)]
    units: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]
    input_bytes: Count
    result_bytes: Count
    input_sha256: Digest | None = None
    adopted_from: JobId | None = None
    parent: JobId | None = None
    escalation: SeenEscalation | None = None
    warrant: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")] | None = None
    created: Wall
    finished: Wall | None = None
    status: Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
    substate: Words
    message: Words
    share: Annotated[float, Field(ge=0, le=1)]
    winner: Number | None = None
    attempts: Annotated[list[SeenAttempt], Field(max_length=SEEN_ATTEMPTS)]
    now: SeenTable | None = None
    lines: Annotated[list[SeenLine], Field(max_length=SEEN_LINES)]


class Replica(Message):
    """S, to a device that may inspect its jobs: how one of them stands, whenever that changes."""

    cap = 256 * KIB
    kind: Literal["replica"] = "replica"
    job: Seen


class Inspect(Message):
    """To the owner of jobs: show those that begin with `job`, list the newest in brief, or cancel one. To a device that runs
    a job of an absent `owner`: stop it; the owner's warrant says that the sender may."""

    kind: Literal["inspect"] = "inspect"
    ask: Count
    what: Literal["show", "list", "cancel", "stop"]
    job: Annotated[str, Field(pattern=r"^[0-9a-f]{0,32}$")]
    owner: Device = ""
    warrant: Annotated[str, Field(pattern=r"^([0-9a-f]{128})?$")] = ""


class Inspected(Message):
    """The answer to one `inspect`; none comes without `jobs.inspect.all`, except to `stop`."""

    cap = 512 * KIB
    kind: Literal["inspected"] = "inspected"
    ask: Count
    jobs: Annotated[list[Seen], Field(max_length=SEEN_JOBS)]
    refused: Literal["", "permission", "ended"] = ""
