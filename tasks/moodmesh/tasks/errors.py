"""The errors of the tasks package.

TaskError
├── InvalidInput       the request is wrong on every device (ValueError)
├── Cancelled          the job was cancelled
├── SoundFontError     a SoundFont cannot be used here; the built-in voice can
├── NoSound            nothing here plays sound, or what did has stopped


├── PartRefused        a part of an answer out of order, too large, or changed (ValueError)
└── ModelError         a model file cannot be used here (OSError)
    ├── ModelMissing   no copy on this device; carries the hash to ask a peer for
    └── ModelDamaged   a copy does not match its hash
"""

from __future__ import annotations


class TaskError(Exception):
    """Any failure of a task or its models."""


class InvalidInput(TaskError, ValueError):
    """The request cannot be run on any device; the message tells the user what to change."""


class Cancelled(TaskError):
    """Raised by `Context.check` when the job was cancelled; a task lets it pass."""


class SoundFontError(TaskError):
    """A SoundFont is damaged or cannot be played on this device; the message says why."""


class NoSound(TaskError):
    """Nothing on this device can play, or what played has stopped; the message says what would."""

    def __init__(self) -> None:
        super().__init__(
            "no audio device or player was found: connect one, or install pipewire, pulseaudio, alsa-utils or ffmpeg; "
            "or have the music written to a .wav file"
        )


class PartRefused(TaskError, ValueError):
    """Raised by `Context.emit` for what is no next part of this answer; the message tells the author of the task why."""


class ModelError(TaskError, OSError):
    """A model file cannot be used on this device; another device may have it."""

    def __init__(self, message: str, sha256: str) -> None:
        super().__init__(message)
        self.sha256 = sha256


class ModelMissing(ModelError):
    """The file is neither in the package nor in the data folder."""


class ModelDamaged(ModelError):
    """The bytes do not have the hash on the card."""
