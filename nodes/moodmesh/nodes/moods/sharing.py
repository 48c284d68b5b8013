"""A coarse mood in clear for peers that have `mood.share`, and theirs: what two have instead of a room (room-mood §2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import MoodTold
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.coarse import coarse
from moodmesh.privacy.shared import SharedMood


class Sharing:
    """In memory alone, and of now alone: no history of anybody. `heard`: what linked peers share with this device."""

    def __init__(
        self,
        felt: Callable[[], EmotionVector | None],
        may: Callable[[DeviceId], bool],
        send: Callable[[DeviceId, MoodTold], bool],
    ) -> None:
        self._felt, self._may, self._send = felt, may, send
        self._said: dict[DeviceId, str] = {}
        self.heard: dict[DeviceId, SharedMood] = {}

    def look(self, peers: Iterable[DeviceId]) -> None:
        """Tell these what is new to them, and take back from them what they may not know any more."""
        felt = self._felt()
        for peer in peers:
            text = coarse(felt).to_json() if felt is not None and self._may(peer) else ""
            if text != self._said.get(peer, "") and self._send(peer, MoodTold(mood=text)):
                self._said[peer] = text

    def hear(self, peer: DeviceId, message: MoodTold) -> None:
        """The newest counts."""
        if message.mood:
            self.heard[peer] = SharedMood.from_json(message.mood)
        else:
            self.heard.pop(peer, None)

    def down(self, peer: DeviceId) -> None:
        """The link is gone, and what was told over it."""
        self.heard.pop(peer, None)
        self._said.pop(peer, None)
