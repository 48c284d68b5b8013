"""Pairing: codes, the exchange, its limits, and attacks that fail (pairing §5, §10)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.errors import BadCode, MeshError, NoWindow, PairingFailed, WrongCode
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairing import flow, messages, spake2, window
from moodmesh.mesh.pairing.code import Code, parse, qr_text, words
from moodmesh.mesh.pairing.flow import Guest, Host, Me
from moodmesh.mesh.pairing.join import join
from moodmesh.mesh.pairing.messages import P1, P2, P3, P4, P5, P6, P7, P8, decode
from moodmesh.mesh.pairing.window import Window
from moodmesh.mesh.pairs import Pair

COST = 2**4
SPKI = bytes(range(32))


def me(name: str = "box") -> Me:
    return Me(Identity.of(Ed25519PrivateKey.generate()), name, 1000.0)


def sides(code: bytes = b"482915", other: bytes | None = None, spki: bytes = SPKI) -> tuple[Host, Guest]:
    return Host(me("host"), code, "37", SPKI, COST), Guest(me("guest"), other or code, "37", spki, COST)


def exchange(host: Host, guest: Guest) -> tuple[Pair, Pair]:
    p3 = guest.reply(host.answer(guest.begin()))
    p6 = host.accept(guest.check(host.check(p3)))
    guest.finish(host.finish(guest.accept(p6)))
    return host.pair, guest.pair


def test_both_sides_end_with_each_others_identity_and_one_secret() -> None:
    host, guest = sides()
    at_host, at_guest = exchange(host, guest)
    assert at_host.k_pair == at_guest.k_pair
    assert (at_host.peer, at_guest.peer) == (guest._me.identity.id, host._me.identity.id)
    assert (at_host.name, at_guest.name) == ("guest", "host")
    assert at_host.half
    assert at_guest.half


def test_the_shipped_cost_is_that_of_the_specification() -> None:
    assert (spake2.SCRYPT_N, spake2.SCRYPT_R, spake2.SCRYPT_P) == (2**15, 8, 1)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_wrong_codes_never_yield_a_key(count: int) -> None:
    host, guest = sides(b"not six digits")
    p2 = host.answer(guest.begin())
    for number in range(count):
        other = Guest(guest._me, f"{number:06d}".encode(), "37", SPKI, COST)
        other._p1 = guest._p1
        with pytest.raises(WrongCode):
            host_check(host, other.reply(p2))


def host_check(host: Host, p3: P3) -> P4:
    """`Host.check` on a copy: a host would have thrown this exchange away."""
    twin = Host.__new__(Host)
    twin.__dict__.update(host.__dict__)
    return twin.check(p3)


def test_an_interceptor_with_its_own_certificate_fails_both_sides() -> None:
    host, guest = sides(spki=b"\x01" * 32)  # the guest saw another window certificate than the host uses
    p3 = guest.reply(host.answer(guest.begin()))
    with pytest.raises(WrongCode):
        host.check(p3)


def test_binding_the_certificate_is_what_stops_the_interceptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spake2, "transcript", lambda a, b, *rest: b"".join(rest))
    monkeypatch.setattr(flow.Side, "_scalar", lambda self, x_h, x_g: spake2.password_scalar(self._password, x_h + x_g, COST))
    host, guest = sides(spki=b"\x01" * 32)
    exchange(host, guest)


@pytest.mark.parametrize("which", ["identity", "reflected", "own share"])
def test_reflections_and_degenerate_shares_fail(which: str) -> None:
    host, guest = sides()
    p2 = host.answer(guest.begin())
    share = {"identity": bytes([1]) + bytes(31), "reflected": p2.share, "own share": spake2.M}[which]
    p3 = guest.reply(p2)
    with pytest.raises(PairingFailed):
        host.check(p3.model_copy(update={"share": share}))


SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
]


@pytest.mark.parametrize(
    "point", [*map(bytes.fromhex, SMALL_ORDER), b"\xff" * 32, b"\xee" + b"\xff" * 30 + b"\x7f", b"", b"\x05" * 31, b"\x05" * 33]
)
def test_bad_points_are_refused_before_use(point: bytes) -> None:
    with pytest.raises(PairingFailed):
        spake2.checked(point)


def test_the_factor_eight_is_part_of_the_key() -> None:
    x, y, w = spake2.secret_scalar(), spake2.secret_scalar(), spake2.password_scalar(b"1", b"s", 2)
    key = spake2.shared(x, w, spake2.share(y, w, spake2.N), spake2.N)
    assert key == spake2.shared(y, w, spake2.share(x, w, spake2.M), spake2.M)
    from nacl import bindings as sodium

    plain = sodium.crypto_scalarmult_ed25519_noclamp(x, sodium.crypto_scalarmult_ed25519_base_noclamp(y))
    assert key != plain


@pytest.mark.parametrize("field", ["versions", "suites", "x_g", "nameplate"])
def test_a_changed_greeting_fails(field: str) -> None:
    host, guest = sides()
    p1 = guest.begin()
    change: dict[str, Any] = {"versions": [1, 0], "suites": [*p1.suites, "other"], "x_g": bytes(16), "nameplate": "38"}
    with pytest.raises(PairingFailed):
        host.check(guest.reply(host.answer(p1.model_copy(update={field: change[field]}))))


@pytest.mark.parametrize("field", ["versions", "suites", "x_h", "share", "version", "suite"])
def test_a_changed_answer_fails(field: str) -> None:
    host, guest = sides()
    p2 = host.answer(guest.begin())
    other = spake2.share(spake2.secret_scalar(), spake2.secret_scalar(), spake2.M)
    change: dict[str, Any] = {
        "versions": [1, 2], "suites": ["x", *p2.suites], "x_h": bytes(16), "share": other, "version": 2, "suite": "x",
    }  # fmt: skip
    with pytest.raises(PairingFailed):
        host.check(guest.reply(p2.model_copy(update={field: change[field]})))


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_every_later_message_is_bound_to_its_place() -> None:
    host, guest = sides()
    p4 = host.check(guest.reply(host.answer(guest.begin())))
    with pytest.raises(WrongCode):
        guest.check(P4(confirm=flip(p4.confirm)))
    p5 = guest.check(p4)
    with pytest.raises(PairingFailed):
        host.accept(P5(sealed=flip(p5.sealed)))
    p6 = host.accept(p5)
    with pytest.raises(PairingFailed):
        guest.accept(P6(sealed=p5.sealed))  # reflected
    p7 = guest.accept(p6)
    with pytest.raises(PairingFailed):
        host.finish(P7(sealed=p5.sealed))  # out of its place
    p8 = host.finish(p7)
    with pytest.raises(PairingFailed):
        guest.finish(P8(sealed=flip(p8.sealed)))
    guest.finish(p8)


def test_a_stolen_identity_certificate_is_not_believed() -> None:
    host, guest = sides()
    victim = me("victim")
    p4 = host.check(guest.reply(host.answer(guest.begin())))
    guest.check(p4)
    forged = json.loads(guest._identity()) | {"certificate": messages.b64(victim.identity.credential.certificate)}
    with pytest.raises(PairingFailed, match="does not hold the key"):
        host.accept(P5(sealed=guest._seal(5, json.dumps(forged).encode())))


def test_names_are_cleaned() -> None:
    assert flow.clean_name("\u202eevil\x00\n name" + "x" * 50, "abcdefghij") == ("evil name" + "x" * 50)[:32]
    assert flow.clean_name("\u200f\x07", "abcdefghij") == "abcdefgh"


@pytest.mark.parametrize("text", ["37-482915", "37482915", " 37 482 915 ", "37–482915"])
def test_a_code_may_have_spaces(text: str) -> None:
    assert parse(text) == Code("37", b"482915")


@pytest.mark.parametrize("text", ["", "37-48291", "37-48291a", "hello", "moodmesh1:AAAA", "37-4829155", "３７482915"])
def test_what_is_no_code_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(BadCode):
        parse(text)


def test_qr_text_round_trips() -> None:
    text = qr_text("07", SPKI, b"t" * 16, [("127.0.0.1", 4711), ("fe80::1%eth0", 2), ("10.0.0.1", 3), ("10.0.0.2", 4)])
    assert parse(text) == Code("07", b"t" * 16, SPKI, (("127.0.0.1", 4711), ("fe80::1", 2), ("10.0.0.1", 3)))


@given(st.text(max_size=200))
def test_parsing_a_code_never_does_anything_but_refuse(text: str) -> None:
    for candidate in (text, "moodmesh1:" + text):
        try:
            parse(candidate)
        except BadCode:
            continue


@given(st.sampled_from([P1, P2, P3, P4, P5]), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_hostile_messages_are_refused(model: type[messages.Message], data: bytes) -> None:
    with pytest.raises(MeshError):
        decode(model, data)


def test_the_four_words_are_the_same_on_both_screens() -> None:
    a, b = me().identity.id, me().identity.id
    assert words(a, b) == words(b, a)
    assert len(words(a, b).split()) == 4


class Budget:
    """Failures of the day, in memory."""

    def __init__(self, limit: int = 10) -> None:
        self.used, self.limit = 0, limit

    async def reserve(self) -> bool:
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    async def give_back(self) -> None:
        self.used -= 1


class Told:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def new_code(self) -> None:
        self.heard.append("new code")

    def locked(self, why: str) -> None:
        self.heard.append("locked")

    def failed(self, why: str) -> None:
        self.heard.append("failed")


class Kept:
    def __init__(self) -> None:
        self.pairs: list[Pair] = []

    async def __call__(self, pair: Pair) -> None:
        self.pairs.append(pair)


def make_window(budget: Budget | None = None) -> tuple[Window, Kept, Told]:
    kept, told, device = Kept(), Told(), me("host")
    return Window(lambda: device, kept, budget or Budget(), told, COST), kept, told


async def test_two_devices_pair_over_a_real_window() -> None:
    w, kept, _ = make_window()
    stored = Kept()
    async with w.open(["127.0.0.1"]):
        pair = await join(me("guest"), parse(w.code), ("127.0.0.1", w.port), stored, COST)
        assert (await w.paired).k_pair == pair.k_pair
    assert [p.name for p in kept.pairs] == ["guest"]
    assert [p.name for p in stored.pairs] == ["host"]


async def test_the_qr_code_pins_the_window() -> None:
    w, kept, _ = make_window()
    async with w.open(["127.0.0.1"]):
        good = parse(qr_text(w.nameplate, w.spki, w.token, [("127.0.0.1", w.port)]))
        with pytest.raises(PairingFailed, match="another device answers"):
            await join(me(), Code(good.nameplate, good.password, SPKI), good.addresses[0], Kept(), COST)
        await join(me(), good, good.addresses[0], Kept(), COST)
    assert len(kept.pairs) == 1


def wrong(w: Window) -> Code:
    return Code(w.nameplate, f"{(int(w.digits) + 1) % 10**6:06d}".encode())


async def test_a_wrong_code_is_burnt_and_three_lock_the_window() -> None:
    w, kept, told = make_window()
    async with w.open(["127.0.0.1"]):
        for _ in range(3):
            shown = w.digits
            with pytest.raises(WrongCode):
                await join(me(), wrong(w), ("127.0.0.1", w.port), Kept(), COST)
            assert w.digits != shown
        with pytest.raises(NoWindow, match="no more tries"):
            await join(me(), Code(w.nameplate, w.digits.encode()), ("127.0.0.1", w.port), Kept(), COST)
    assert not kept.pairs
    assert told.heard.count("new code") == 2
    assert "locked" in told.heard


async def test_parallel_guests_get_three_guesses_together() -> None:
    budget = Budget()
    w, kept, _ = make_window(budget)
    async with w.open(["127.0.0.1"]):
        tries = [join(me(), wrong(w), ("127.0.0.1", w.port), Kept(), COST) for _ in range(24)]
        results = await asyncio.gather(*tries, return_exceptions=True)
    assert not kept.pairs
    assert sum(isinstance(r, WrongCode) for r in results) <= 3
    assert all(isinstance(r, PairingFailed) for r in results)
    assert budget.used <= 3


async def test_ten_failures_a_day_close_pairing() -> None:
    budget = Budget()
    guesses = 0
    for _ in range(5):
        w, _, _ = make_window(budget)
        async with w.open(["127.0.0.1"]):
            for _ in range(3):
                try:
                    await join(me(), wrong(w), ("127.0.0.1", w.port), Kept(), COST)
                except WrongCode:
                    guesses += 1
                except NoWindow:
                    pass
    assert guesses == 10


async def test_counting_after_the_cryptography_would_let_guests_overshoot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation of the two tests above: with nothing reserved, there is no end to guessing."""

    async def free(self: Budget) -> bool:
        return True

    monkeypatch.setattr(Budget, "reserve", free)
    monkeypatch.setattr(window.Limits, "locked", property(lambda self: False))
    w, _, _ = make_window()
    guesses = 0
    async with w.open(["127.0.0.1"]):
        for _ in range(12):
            with pytest.raises(WrongCode):
                await join(me(), wrong(w), ("127.0.0.1", w.port), Kept(), COST)
            guesses += 1
    assert guesses == 12


async def test_greetings_without_a_guess_are_bounded() -> None:
    w, _, told = make_window()
    async with w.open(["127.0.0.1"]):
        outcomes = []
        for _ in range(12):
            guest = Guest(me(), b"000000", w.nameplate, SPKI, COST)
            outcomes.append(await greet_and_leave(w.port, guest))
    assert outcomes.count("answered") == window.GREETINGS_PER_WINDOW
    assert "locked" in told.heard


async def greet_and_leave(port: int, guest: Guest) -> str:
    from aiohttp import ClientSession, TCPConnector, WSMsgType

    from moodmesh.mesh.tls import blind_context

    url = f"https://127.0.0.1:{port}/pair"
    async with ClientSession(connector=TCPConnector(ssl=blind_context())) as session, session.ws_connect(url) as socket:
        await socket.send_str(guest.begin().encode())
        message = await socket.receive()
        return "answered" if message.type is WSMsgType.TEXT else "refused"


async def test_nobody_there_says_so() -> None:
    with pytest.raises(NoWindow, match="opens one"):
        await join(me(), Code("12", b"123456"), ("127.0.0.1", 1), Kept(), COST)
