from __future__ import annotations

from moodmesh.mesh.seams import Envelope

from .support import paired


async def test_two_devices_link_and_talk() -> None:
    async with paired() as (ann, bob):
        link = await ann.dial(bob)
        other = await bob.events.up.get()
        await link.send(Envelope("reserve", b'{"n":1}'))
        assert await bob.events.got.get() == Envelope("reserve", b'{"n":1}')
        await other.send(Envelope("chunk", b"\x00" * (1 << 20)))
        assert len((await ann.events.got.get()).body) == 1 << 20
        assert (link.peer, other.peer) == (bob.identity.id, ann.identity.id)
        assert link.address == bob.address
        assert other.address == ann.address
