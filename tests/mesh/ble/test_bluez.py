"""What is shown, served, dropped and lost over BlueZ, on a private D-Bus."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dbus_fast import Message, Variant
from dbus_fast.aio import MessageBus

from mesh.ble.bluez_stub import DAEMON, NO_DAEMON, Bluez, Radio, private_bus
from moodmesh.mesh.ble import adapters as listing
from moodmesh.mesh.ble import bluez, platform, systembus
from moodmesh.mesh.ble.adapters import Adapter, adapters
from moodmesh.mesh.ble.bluez import BluezPeripheral
from moodmesh.mesh.ble.finder import BleFinder
from moodmesh.mesh.ble.payload import SERVICE, Payload
from moodmesh.mesh.ble.platform import open_radio
from moodmesh.mesh.ble.radio import LANE_UUIDS, UNSEEN, Hooks, Unseen
from moodmesh.mesh.ble.systembus import no_adapter, switched_off
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.seams import Beacon, Sighting, Unavailable
from moodmesh.nodes.config import MeshSection
from moodmesh.nodes.doctor import bluetooth as doctor
from moodmesh.nodes.doctor.examine import of_daemon
from moodmesh.nodes.doctor.finding import Finding

pytestmark = pytest.mark.skipif(DAEMON is None, reason=NO_DAEMON)
OURS, OTHERS, PEER = "F0:00:00:00:00:01", "F0:00:00:00:00:02", "C0:00:00:00:00:09"
DATA, LATER = bytes(range(10)), bytes(range(10, 20))
OTHER = Payload(b"abc", (b"def", b"ghi"))
NONE = Hooks(lambda lane, device, value: None, lambda device: None)


class Calls:
    """What a peripheral called, as it came."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self.hooks = Hooks(lambda *wrote: self.came.put_nowait(wrote), lambda device: self.came.put_nowait(("gone", device)))

    async def next(self) -> tuple[object, ...]:
        async with asyncio.timeout(5):
            return await self.came.get()


@pytest.fixture
def radios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's list of adapters."""
    (tmp_path / "kernel/hci0/rfkill7").mkdir(parents=True)
    monkeypatch.setattr(systembus, "RADIOS", tmp_path / "kernel")
    return tmp_path / "kernel"


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, radios: Path) -> Iterator[str]:
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        yield address


@pytest.fixture
async def stub(bus: str) -> AsyncIterator[Bluez]:
    service = Bluez(bus, hci0=Radio(OURS), hci1=Radio(OTHERS))
    await service.start()
    yield service
    await service.stop()


@asynccontextmanager
async def stays(peripheral: BluezPeripheral, hooks: Hooks = NONE) -> AsyncIterator[asyncio.Task[None]]:
    """A peripheral open in a task of its own, which ends as its block does."""
    opened = asyncio.Event()

    async def serve() -> None:
        async with peripheral.open(hooks):
            opened.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(serve())
    arrived = asyncio.create_task(opened.wait())
    async with asyncio.timeout(5):
        await asyncio.wait((task, arrived), return_when=asyncio.FIRST_COMPLETED)
    assert opened.is_set(), task.exception()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, arrived, return_exceptions=True)


async def ending(task: asyncio.Task[None]) -> Unavailable:
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable) as why:
            await asyncio.shield(task)
    return why.value


async def refused() -> Unavailable:
    with pytest.raises(Unavailable) as why:
        async with asyncio.timeout(5), BluezPeripheral("hci0").open(NONE):
            pass
    return why.value


async def test_an_advertisement_holds_the_service_data_alone_and_fits_31_bytes(stub: Bluez) -> None:
    """A name, a list of UUIDs or another byte would not fit, or would tell who it is."""
    peripheral, radio = BluezPeripheral("hci0"), stub.radios["hci0"]
    async with peripheral.open(NONE):
        await peripheral.advertise(DATA)
        (shown,) = radio.shown.values()
        assert shown == {"Type": "peripheral", "ServiceData": {SERVICE: DATA}}
        assert radio.on_air() == [31]
        with pytest.raises(ValueError, match="at most 10"):
            await peripheral.advertise(DATA + b"x")
    await stub.until(lambda: radio.shown == {} and radio.lanes == {})


async def test_new_data_takes_the_place_of_the_old_in_one_registration(stub: Bluez) -> None:
    """One that is taken down and put up again is gone in between."""
    peripheral, radio = BluezPeripheral("hci0"), stub.radios["hci0"]
    async with peripheral.open(NONE):
        await asyncio.gather(peripheral.advertise(DATA), peripheral.advertise(LATER))
        await stub.until(lambda: [shown["ServiceData"][SERVICE] for shown in radio.shown.values()] == [LATER])
    assert radio.registrations == 1


async def test_every_lane_is_written_without_response_and_notifies(stub: Bluez) -> None:
    radio = stub.radios["hci0"]
    async with BluezPeripheral("hci0").open(NONE):
        assert radio.service == SERVICE
        assert radio.flags == {uuid: ["write-without-response", "notify"] for uuid in LANE_UUIDS}


async def test_writes_come_with_the_lane_and_the_device_and_notifications_go_to_their_lane(stub: Bluez) -> None:
    peripheral, calls = BluezPeripheral("hci0"), Calls()
    async with peripheral.open(calls.hooks):
        await stub.connect("hci0", PEER)
        for number in (0, 6):
            await stub.write("hci0", LANE_UUIDS[number], PEER, b"in%d" % number)
            assert await calls.next() == (number, PEER, b"in%d" % number)
            await peripheral.notify(number, b"same")
            await peripheral.notify(number, b"same")
        await stub.until(lambda: len(stub.radios["hci0"].notified) == 4)
        assert stub.radios["hci0"].notified == [(LANE_UUIDS[number], b"same") for number in (0, 0, 6, 6)]


async def test_a_device_is_gone_when_it_disconnects_or_is_forgotten(stub: Bluez) -> None:
    calls = Calls()
    await stub.connect("hci0", PEER)
    async with BluezPeripheral("hci0").open(calls.hooks):
        await stub.disconnect("hci0", PEER)
        assert await calls.next() == ("gone", PEER)
        await stub.forget("hci0", PEER)
        assert await calls.next() == ("gone", PEER)


async def test_a_device_is_named_as_the_scanner_shows_it_when_its_address_is_resolved(stub: Bluez) -> None:
    """By its path alone it would keep the name that nobody hears any more."""
    calls = Calls()
    async with BluezPeripheral("hci0").open(calls.hooks):
        await stub.connect("hci0", PEER)
        await stub.write("hci0", LANE_UUIDS[0], PEER, b"before")
        await stub.rename("hci0", PEER, "AA:00:00:00:00:01")
        await stub.write("hci0", LANE_UUIDS[0], PEER, b"after")
        said = [await calls.next() for _ in range(3)]
    assert said == [(0, PEER, b"before"), ("gone", PEER), (0, "AA:00:00:00:00:01", b"after")]


async def test_a_dropped_device_is_disconnected_and_one_that_is_not_connected_is_none_of_it(stub: Bluez) -> None:
    peripheral, calls = BluezPeripheral("hci0"), Calls()
    async with peripheral.open(calls.hooks):
        await stub.connect("hci0", PEER)
        await stub.write("hci0", LANE_UUIDS[0], PEER, b"x")
        await calls.next()
        await peripheral.drop(PEER)
        assert await calls.next() == ("gone", PEER)
        assert stub.radios["hci0"].devices == {PEER: False}
        await peripheral.drop(PEER)
        await peripheral.drop("00:00:00:00:00:00")


async def test_two_adapters_in_one_process_do_not_meet(stub: Bluez) -> None:
    """Sharing paths and a connection, the second would take what was written to the first."""
    one, two, first, second = BluezPeripheral("hci0"), BluezPeripheral("hci1"), Calls(), Calls()
    async with one.open(first.hooks), two.open(second.hooks):
        await one.advertise(DATA)
        await two.advertise(LATER)
        await stub.connect("hci1", PEER)
        await stub.write("hci1", LANE_UUIDS[3], PEER, b"to the second")
        assert await second.next() == (3, PEER, b"to the second")
        await one.notify(3, b"of the first")
        await stub.disconnect("hci1", PEER)
        assert await second.next() == ("gone", PEER)
        await stub.until(lambda: bool(stub.radios["hci0"].notified))
        shown = [[data["ServiceData"][SERVICE] for data in radio.shown.values()] for radio in stub.radios.values()]
    assert shown == [[DATA], [LATER]]
    assert stub.radios["hci1"].notified == []
    assert first.came.empty()


async def test_the_service_restarts_and_the_next_block_works(stub: Bluez) -> None:
    peripheral = BluezPeripheral("hci0")
    async with stays(peripheral) as block:
        await stub.stop()
        why = await ending(block)
        assert "not running" in why.reason
        assert "systemctl" in why.remedy
    with pytest.raises(Unavailable, match="not running"):
        await peripheral.advertise(DATA)
    with pytest.raises(ConnectionError):
        await peripheral.notify(0, b"x")
    await stub.start()
    async with peripheral.open(NONE):
        await peripheral.advertise(DATA)
    assert stub.radios["hci0"].registrations == 1


@pytest.mark.parametrize(
    ("blocked", "remedy"), [(None, "bluetoothctl power on"), ("soft", "rfkill unblock"), ("hard", "that switch or key")]
)
async def test_power_goes_and_comes_back(
    stub: Bluez, radios: Path, monkeypatch: pytest.MonkeyPatch, blocked: str | None, remedy: str
) -> None:
    peripheral = BluezPeripheral("hci0")
    for kind in ("soft", "hard"):
        (radios / f"hci0/rfkill7/{kind}").write_text("1\n" if kind == blocked else "0\n")
    async with stays(peripheral) as block:
        await stub.power("hci1", False)  # another adapter's is none of ours
        monkeypatch.setattr(bluez, "LAST_WORD_S", 0.01)
        await stub.power("hci0", False)
        why = await ending(block)
        assert "switched off" in why.reason
        assert remedy in why.remedy
    assert (await refused()).reason == why.reason
    await stub.power("hci0", True)
    async with stays(peripheral):
        await peripheral.advertise(DATA)


async def test_an_adapter_is_pulled_out(stub: Bluez, monkeypatch: pytest.MonkeyPatch) -> None:
    """BlueZ says first that it is off."""
    monkeypatch.setattr(bluez, "LAST_WORD_S", 0.1)
    async with stays(BluezPeripheral("hci0")) as block:
        await stub.unplug("hci1")
        await asyncio.wait((block,), timeout=0.2)
        assert not block.done()
        await stub.unplug("hci0")
        why = await ending(block)
        assert "hci0 is not there" in why.reason
        assert "plug it in" in why.remedy
    assert (await refused()).reason == why.reason


async def test_nothing_is_shown_on_an_adapter_without_power(stub: Bluez, monkeypatch: pytest.MonkeyPatch) -> None:
    """New data for it may end the service itself. Whoever has some is told why, as the block is: the last that was said."""
    peripheral, calls, radio = BluezPeripheral("hci0"), Calls(), stub.radios["hci0"]
    monkeypatch.setattr(bluez, "LAST_WORD_S", 0.3)
    async with stays(peripheral, calls.hooks) as block:
        await peripheral.advertise(DATA)
        await stub.power("hci0", False)
        await stub.connect("hci0", PEER)
        await stub.disconnect("hci0", PEER)  # by then it has heard of the power
        assert await calls.next() == ("gone", PEER)
        later = asyncio.create_task(peripheral.advertise(LATER))
        await stub.unplug("hci0")
        assert "is not there" in (await ending(later)).reason
        assert "is not there" in (await ending(block)).reason
    assert {"Type": "peripheral", "ServiceData": {SERVICE: LATER}} not in radio.shown.values()


async def test_other_programs_may_have_taken_all_advertisements(stub: Bluez) -> None:
    radio = stub.radios["hci0"]
    radio.shown = {("other", "/1"): {}, ("other", "/2"): {}}
    peripheral = BluezPeripheral("hci0")
    async with peripheral.open(NONE):
        with pytest.raises(Unseen, match="other programs"):
            await peripheral.advertise(DATA)
        radio.shown = {}
        await peripheral.advertise(DATA)
        assert len(radio.shown) == 1


class Looking:
    """A finder on the adapter that `open_radio` chooses, running; nothing of it is replaced but the time between two shows."""

    def __init__(self) -> None:
        self.finder, self.seen = BleFinder(lambda: open_radio(""), lambda *_: False, SystemClock()), asyncio.Queue[Sighting]()
        self.finder.interval_s = 0.05
        self.finder.show(Beacon(OTHER.rid[::-1], 4000, ()))
        self.run = asyncio.create_task(self.finder.run(self.seen.put_nowait))

    async def until(self, trouble: dict[str, str]) -> None:
        async with asyncio.timeout(5):
            while self.finder.trouble != trouble:
                await asyncio.sleep(0.01)

    async def hears(self, stub: Bluez) -> bool:
        """Whether it still tells of a device that the adapter hears."""
        await stub.hear("hci0", PEER, {SERVICE: OTHER.encode()}, -60)
        async with asyncio.timeout(5):
            return (await self.seen.get()).rid == OTHER.rid


@pytest.fixture
async def looking(stub: Bluez, radios: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Looking]:
    """On hci0 as it is when the test begins: hci1 is no better."""
    monkeypatch.setattr(platform, "RADIOS", radios)
    monkeypatch.setattr(bluez, "LAST_WORD_S", 0.1)
    del stub.radios["hci1"]
    found = Looking()
    yield found
    found.run.cancel()
    await asyncio.gather(found.run, return_exceptions=True)


@pytest.mark.parametrize(("goes", "why"), [("power", "switched off"), ("adapter", "hci0 is not there")])
@pytest.mark.parametrize("lacks", [{"managers": False}, {"roles": ["central"]}])
async def test_an_adapter_that_cannot_be_seen_looks_and_is_watched(
    stub: Bluez, looking: Looking, lacks: dict[str, Any], goes: str, why: str
) -> None:
    """Unwatched, it would be taken for one that hears nobody, for ever."""
    radio = stub.radios["hci0"] = Radio(OURS, **lacks)
    await looking.until({"this device": UNSEEN})
    assert await looking.hears(stub)
    assert (radio.registrations, radio.lanes) == (0, {})
    await (stub.power("hci0", False) if goes == "power" else stub.unplug("hci0"))
    assert why in (await ending(looking.run)).reason


async def test_without_a_place_to_show_it_looks_on_and_is_seen_when_there_is_one(stub: Bluez, looking: Looking) -> None:
    radio = stub.radios["hci0"]
    radio.shown = {("other", "/1"): {}, ("other", "/2"): {}}
    await looking.until(
        {"this device": f"{UNSEEN}: other programs use all that the Bluetooth adapter can show; end one of them"}
    )
    assert await looking.hears(stub)
    del radio.shown["other", "/1"]
    await stub.until(lambda: radio.registrations == 1)
    await looking.until({})
    assert await looking.hears(stub)


async def test_elsewhere_than_on_linux_nobody_asks_bluez(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    monkeypatch.setattr(platform, "sys", SimpleNamespace(platform="darwin"))
    async with open_radio("") as (_, peripheral):
        assert peripheral is None


async def test_what_anybody_sends_is_not_taken_for_the_words_of_the_service(stub: Bluez, bus: str) -> None:
    """A signal with an address passes every match: believed, any user of this machine could switch the radio off."""
    calls = Calls()
    peripheral = BluezPeripheral("hci0")
    async with stays(peripheral, calls.hooks) as block:
        (ours, path) = stub.radios["hci0"].lanes[LANE_UUIDS[0]]
        liar = await MessageBus(bus_address=bus).connect()
        off = ["org.bluez.Adapter1", {"Powered": Variant("b", False)}, []]
        lie = Message.new_signal("/org/bluez/hci0", "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", off)
        lie.destination = ours
        await liar.send(lie)
        options = {"device": Variant("o", "/org/bluez/hci0/dev_C0_00_00_00_00_09")}
        interface = "org.bluez.GattCharacteristic1"
        answer = await liar.call(Message(ours, path, interface, "WriteValue", signature="aya{sv}", body=[b"lie", options]))
        assert answer.error_name == "org.freedesktop.DBus.Error.UnknownMethod"
        liar.disconnect()
        await stub.write("hci0", LANE_UUIDS[0], PEER, b"true")
        assert await calls.next() == (0, PEER, b"true")
        assert not block.done()


async def test_no_permission_says_which_group_to_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, radios: Path) -> None:
    with private_bus(tmp_path, denied=True) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        stub = Bluez(address, hci0=Radio(OURS))
        await stub.start()
        why = await refused()
        with pytest.raises(Unavailable, match="may not use Bluetooth"):
            await adapters()
        await stub.stop()
    assert "may not use Bluetooth" in why.reason
    assert "usermod -aG bluetooth" in why.remedy


async def test_no_service_no_bus_and_no_adapter_are_told_apart(
    bus: str, radios: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "install the package bluez" in (await refused()).remedy
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    assert "dbus" in (await refused()).remedy
    monkeypatch.setattr(systembus, "RADIOS", tmp_path / "nothing")
    assert "no Bluetooth adapter" in (await refused()).reason


async def test_a_service_that_hangs_is_given_up(stub: Bluez, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systembus, "ANSWER_S", 0.05)
    monkeypatch.setattr(stub, "_answer", lambda call: asyncio.sleep(0))
    why = await refused()
    assert "does not answer" in why.reason
    assert "restart" in why.remedy


async def test_the_bus_itself_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, radios: Path) -> None:
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        stub = Bluez(address, hci0=Radio(OURS))
        await stub.start()
        opened = asyncio.Event()

        async def serve() -> None:
            async with BluezPeripheral("hci0").open(NONE):
                opened.set()
                await asyncio.get_running_loop().create_future()

        block = asyncio.create_task(serve())
        await opened.wait()
    assert "D-Bus" in (await ending(block)).reason


async def test_an_error_or_an_end_of_the_block_itself_stays_what_it_is(stub: Bluez) -> None:
    """Told by its type alone, a time-out of the caller's would pass for the end of the radio."""
    with pytest.raises(TimeoutError, match="mine"):
        async with BluezPeripheral("hci0").open(NONE):
            raise TimeoutError("mine")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), BluezPeripheral("hci0").open(NONE):
            await asyncio.get_running_loop().create_future()


async def test_adapters_are_listed_with_what_they_can(stub: Bluez, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SETTINGS", tmp_path / "main.conf")
    stub.radios["hci1"].powered, stub.radios["hci1"].managers = False, False
    first = Adapter("hci0", OURS, True, "public", True, True)
    assert await adapters() == (first, Adapter("hci1", OTHERS, False, "public", True, False))
    for setting, kind in (("#Privacy = off", "public"), ("Privacy = off", "public"), ("Privacy = device", "rotating")):
        (tmp_path / "main.conf").write_text(f"[General]\n#Name = BlueZ\n{setting}\n[Policy]\nAutoEnable=true\n")
        assert (await adapters())[0].kind == kind


async def test_settings_in_another_encoding_are_read(stub: Bluez, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SETTINGS", tmp_path / "main.conf")
    (tmp_path / "main.conf").write_bytes("[General]\nName = Küche\nPrivacy = device\n".encode("latin-1"))
    assert (await adapters())[0].kind == "rotating"


async def test_the_doctor_says_once_what_an_adapter_cannot(stub: Bluez, radios: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running daemon, asked as well, has it in its own list."""
    monkeypatch.setattr(doctor, "RADIOS", radios)

    async def told(detail: str, state: str = "unavailable", **mesh: str) -> list[Finding]:
        """All of hci0 or of the whole, when the daemon's finder says so."""
        part = {"state": state, "detail": detail, "remedy": "do something"}
        found = await doctor.bluetooth(MeshSection(**mesh))  # type: ignore[arg-type]
        return [f for f in (*found, *of_daemon({"finder ble": part}, found)) if f.subject != "Bluetooth hci1"]

    stub.radios["hci0"].roles = ("central",)
    (unseen,) = await told(f"this device: {UNSEEN}", "ok")
    assert (unseen.state, UNSEEN in unseen.detail) == ("ok", True)
    stub.radios["hci0"].roles = ("central", "peripheral")
    other = await told(f"this device: {UNSEEN}: other programs use all", "ok")
    assert [(f.subject, f.state) for f in other] == [("Bluetooth hci0", "ok"), ("daemon: finder ble", "ok")]
    for name, mesh in (("hci7", {"adapter": "hci7"}), ("", {"bluetooth": "off"})):
        detail = no_adapter(name).reason if name else "Bluetooth is switched off"
        assert [f.detail for f in await told(detail, **mesh)] == [detail]
    stub.radios["hci0"].powered = False
    assert [f.detail for f in await told(switched_off("hci0").reason)] == [switched_off("hci0").reason]
