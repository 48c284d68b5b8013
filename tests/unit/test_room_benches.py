"""The instruments of the benchmarks of rooms: they draw what the product draws, and find what is spoiled."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from moodmesh.mesh.rooms.member import Declined, Member
from moodmesh.mesh.rooms.relay import Gathering, Out
from moodmesh.mesh.rooms.transcript import Run
from moodmesh.mesh.rooms.wire import Malformed, decode
from moodmesh.nodes.bench.roommood import annotated, audit, draws
from moodmesh.nodes.bench.roommood.tables import PLAIN, SHIPPED, cells, row
from moodmesh.nodes.bench.roomsum import bench, secagg
from moodmesh.nodes.bench.roomsum.room import Guest, Room
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.rooms.model import Descriptor
from moodmesh.nodes.rooms.person import agreed
from moodmesh.privacy.release.chance import discrete_gauss
from moodmesh.privacy.release.privunit import DIRECTIONS, draw, randomiser, weight

CHANCE = np.random.default_rng(7)


def chi2(counts: np.ndarray, expected: np.ndarray) -> float:
    """In standard deviations from its mean, about."""
    found = float(((counts - expected) ** 2 / expected).sum())
    return (found - (len(counts) - 1)) / math.sqrt(2 * (len(counts) - 1))


# -- roomsum -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "d", "missing"), [(3, 2, 0), (10, 64, 2), (66, 2, 6)])
def test_a_room_of_the_benchmark_opens_the_sum_of_those_who_stay(n: int, d: int, missing: int) -> None:
    room = Room(n, d, missing)
    assert room.right
    assert len(room.here) == n - missing
    up = bench.figures(room)["up_by_step"]
    m, rows = len(room.committee), 1 if n == 3 else 3
    everyone = m == n
    assert up["shares"] == pytest.approx(44 + (m - everyone) * (28 + 4 * d * rows), abs=28 + 4 * d * rows)
    assert (up["join"], up["reveal"], up["sum"]) == (44 + 160, 44 + 96, 44 + 64 + 4 * d)
    assert room.busiest_ms() > room.mean_ms("contribute", room.here) > 0


def test_a_room_notices_a_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Guest.release
    monkeypatch.setattr(Guest, "release", lambda self, drawn: [value + 1 for value in honest(self, drawn)])
    assert not Room(5, 2, 0).right


@pytest.mark.parametrize(("n", "missing"), [(3, 0), (10, 2), (30, 6)])
def test_plain_secagg_adds_up(n: int, missing: int) -> None:
    assert secagg.measure(n, 4, missing).right


def test_stall_is_the_hypergeometric_tail() -> None:
    assert bench.stall(10, 2, 10, 7) == 0
    assert bench.stall(10, 4, 10, 7) == 1
    assert bench.stall(4, 2, 2, 2) == pytest.approx(5 / 6)
    assert 0.2 < bench.stall(100, 20, 37, 29) < 0.4


def test_live_rooms_have_two_dimensions_and_refuse_others() -> None:
    room = Descriptor(room="00" * 32, kind="on-demand", name="x", eps=4)
    assert agreed(room, 10).d == 2
    with pytest.raises(Declined):
        agreed(room, 2)

    class Live(Guest):
        def params(self, n: int) -> object:
            return agreed(room, n)

    run = Run(bytes(32), 1, 1)
    members = [Member(run, Live(10, 2))] + [Member(run, Guest(10, 64)) for _ in range(9)]
    gathering = Gathering(run, dict.fromkeys(range(10), b""), 1.0)
    outs: list[Out] = []
    for i, member in enumerate(members):
        outs += gathering.hear(i, decode(member.join()[0]), 0.0)
    reveals = [gathering.hear(out.place, decode(members[out.place].hear(decode(out.data))[0]), 0.0) for out in outs]
    told = {out.place: out.data for out in reveals[-1]}
    with pytest.raises(Malformed, match="did not sign this roster"):
        members[0].hear(decode(told[0]))
    assert members[0].contribute() == []


def test_without_flower_the_row_says_so_and_the_ratios_are_missing() -> None:
    lone = bench.flower_row(10, 64, 0, None)
    assert lone["note"] == "not installed"
    ours = {"what": "room", "n": 100, "d": 64, "dropouts": 0.0, "member_ms": 8.0, "busiest_ms": 30.0}
    theirs = {"what": "Flower SecAgg+", "n": 100, "d": 64, "dropouts": 0.0, "member_ms": 80.0, "busiest_ms": 4500.0}
    assert bench.summary([ours])["member_vs_flower"] is None
    found = bench.summary([ours, theirs, {**ours, "dropouts": 0.2, "member_ms": 10.0}, {**theirs, "dropouts": 0.2}])
    assert (found["member_vs_flower"], found["busiest_vs_flower"]) == (8.0, 150.0)


def test_a_python_that_is_not_there_is_an_error() -> None:
    with pytest.raises(UsageError, match="no such Python"):
        bench.run(quick=True, flower=Path("/nowhere/python"))


# -- roommood ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [1, 4])
def test_reports_have_the_weights_of_the_mechanism_and_so_has_the_product(eps: int) -> None:
    r, count, bins = randomiser(eps), 20_000, 32
    mood = (math.cos(1.0), math.sin(1.0))
    centre = round(1.0 / (2 * math.pi) * DIRECTIONS)
    shares = np.array([weight(r, centre, j) for j in range(DIRECTIONS)]).reshape(bins, -1).sum(axis=1) / r.total
    place = {point: j for j, point in enumerate(r.table)}
    ours = draws.reports(np.tile(mood, (count, 1)), eps, CHANCE).tolist()
    theirs = [draw(mood, eps) for _ in range(count)]
    for found in (ours, theirs):
        counts = np.bincount([place[x, y] * bins // DIRECTIONS for x, y in found], minlength=bins)
        assert abs(chi2(counts, shares * count)) < 6


def test_sums_of_noise_are_distributed_as_the_sums_of_the_product() -> None:
    sigma, parts, count = 40, 10, 2_000
    edges = np.quantile(draws.Noise(sigma, parts).draw((50_000,), CHANCE), np.linspace(0, 1, 17)[1:-1])
    ours = draws.Noise(sigma).draw((count, parts), CHANCE).sum(axis=1)
    theirs = [sum(discrete_gauss(sigma) for _ in range(parts)) for _ in range(count)]
    expected = np.bincount(np.searchsorted(edges, draws.Noise(sigma, parts).draw((200_000,), CHANCE)), minlength=16) / 100
    for found in (ours, theirs):
        assert abs(chi2(np.bincount(np.searchsorted(edges, found), minlength=16), expected)) < 6
    assert draws.noise_of_rooms(sigma, 20, 3_000, CHANCE).std() == pytest.approx(sigma * 20**0.5, rel=0.05)
    assert draws.noise_of_rooms(sigma, 7, 3_000, CHANCE).std() == pytest.approx(sigma * 7**0.5, rel=0.05)


def test_the_tables_are_the_specifications_and_small_rooms_make_them() -> None:
    every = list(cells())
    printed = sum(len(line.replace("- ", "").split()) for line in [*SHIPPED.values(), *PLAIN.values()])
    assert sum(1 for cell in every if cell.table) == printed + 6
    for cell in every:
        if cell.table is not None:
            half = 0.5 * 10.0 ** -len(cell.table.partition(".")[2])
            assert abs(cell.formula - float(cell.table)) <= half * 1.5, cell.what
    small = [cell for cell in every if (cell.n == 10 and "Mode" in cell.what) or (cell.n == 30 and cell.what == "Mode G")]
    assert max(row(cell, 1_000, CHANCE)["off"] for cell in small) < 0.12
    assert row(small[0]._replace(formula=2 * small[0].formula), 500, CHANCE)["off"] > 0.4


def test_clopper_and_pearsons_limit() -> None:
    assert audit.upper(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert audit.upper(100, 100, 0.05) == 1
    at = audit.upper(30, 100, 0.025)
    assert sum(math.comb(100, k) * at**k * (1 - at) ** (100 - k) for k in range(31)) == pytest.approx(0.025, rel=1e-6)
    assert audit.upper(150_000, 200_000, 0.005) == pytest.approx(0.75 + 2.576 * math.sqrt(0.75 * 0.25 / 200_000), abs=1e-4)


def test_enumeration_holds_the_claim_and_notices_a_wider_weight() -> None:
    for eps in (1, 2, 4):
        r = randomiser(eps)
        assert eps - 1e-5 < audit.ratio(r) <= eps
        assert audit.ratio(r._replace(inside=4 * r.inside)) > eps
        assert audit.ratio(r._replace(inside=math.ceil(2**20 * math.exp(eps)))) > eps  # ceil instead of floor


def test_an_audit_of_samples_holds_the_claim_and_notices_a_quarter_of_the_noise() -> None:
    mu, runs = 1.0, 20_000
    claim = audit.eps_of(mu)
    for spoil, holds in ((1, True), (4, False)):
        shift = round(400 * mu * spoil)
        worlds = [side * shift // 2 + draws.Noise(400).draw((runs,), CHANCE) for side in (1, -1)]
        assert (audit.lower_bound(*worlds) <= claim) == holds


def test_annotated_rooms_are_told_with_their_rows_and_bad_data_is_an_error(tmp_path: Path) -> None:
    va = np.full((4, 2, 600, 2), 5.0) + CHANCE.normal(0, 1, (4, 2, 1, 2)).clip(-4, 4)
    np.savez(tmp_path / annotated.FILE, va10hz=va.astype(np.float16))
    found = list(annotated.rows(tmp_path, 8, CHANCE))
    assert [one["n"] for one in found] == list(annotated.SIZES)
    assert found[0]["of"] == "4 people x 2 videos, with replacement"
    assert [one["shown_of"] for one in found] == [2, 2, 1, 1, 1]
    assert all(one["clip"] < 0.05 for one in found)
    assert 0.4 * found[2]["noise"] < found[2]["release"] < 2 * found[2]["noise"]
    with pytest.raises(UsageError, match="no annotations"):
        annotated.moods(tmp_path / "nowhere")
