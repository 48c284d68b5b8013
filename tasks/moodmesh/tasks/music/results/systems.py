"""The rows of the table: each makes a piece of a mood, so many bars long, from a seed (evaluation §5).

Pieces are in C major or A minor and for the piano, as composers write them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.engine.playing import Ask, Player
from moodmesh.tasks.music.engine.sampling import Taste
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate import CARDS
from moodmesh.tasks.music.generate.asked import Asked
from moodmesh.tasks.music.generate.composers import Composer, Rules, Trained
from moodmesh.tasks.music.generate.runner import whole
from moodmesh.tasks.music.generate.selector import Selector
from moodmesh.tasks.music.judge import gates
from moodmesh.tasks.music.judge.controls import MOODS as CORNERS
from moodmesh.tasks.music.judge.controls import Control, atonal, in_key, shuffled
from moodmesh.tasks.music.judge.negatives import excerpts
from moodmesh.tasks.music.model import graph
from moodmesh.tasks.music.model.conditioned import TOKENS
from moodmesh.tasks.music.model.decoder import SIZES
from moodmesh.tasks.music.model.gmvae import NARROW, WIDE
from moodmesh.tasks.music.model.graph import Weights
from moodmesh.tasks.music.notation.score import Score, tidy
from moodmesh.tasks.music.notation.vocabulary import loudness, tempo_step, velocity_step
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import Trained as Run
from moodmesh.tasks.music.rules.attributes import DESCRIBED, Attributes
from moodmesh.tasks.music.rules.moods import EMOTIONS, QUADRANTS, Mood
from moodmesh.tasks.task import Request

MOODS = tuple(EMOTIONS[word] for word in QUADRANTS)
"""What is asked for in each quadrant, Q1 to Q4."""
BPM, DENSITY, VELOCITY, DYNAMICS = 96.0, 1.7, 72, 12.0
"""What every mood is given where tempo, note rate and velocity are matched: the values of `wanted` in the middle."""
TAKES = (2,)
"""How often each phrase is played in the rows that choose."""
FORMS = {
    "tiny": (", fp32", ", int8", ", int8, takes 2"),
    "base": (", int8", ", int8, without form", ", int8, matched"),
}
"""The rows of an attribute model by its size: what int8 and takes cost and bring is asked of the smaller, what form and the
figures that are matched bring of the larger, which is the first to be chosen."""
TABLE = "attribute table (rules)"
"""The row without a model that the attribute model is compared with."""
Make = Callable[[Mood, int, int], Score]
"""(mood, bars, seed) -> piece."""


@dataclass(frozen=True)
class System:
    """A row: its name, how it makes a piece, the hash of the weights that it plays ("" for none), whether any
    (valence, arousal) may be asked of it, so that it is asked for a grid of them, and which of `negatives.kinds`, that the
    gate learned to refuse, it is."""

    name: str
    pieces: Make
    weights: str = ""
    anywhere: bool = False
    kind: str = ""


def written(composer: Composer, takes: int = 1, kind: type[Asked] = Asked) -> Make:
    """What a composer writes of a mood, as `music.generate` asks it."""

    def make(mood: Mood, bars: int, seed: int) -> Score:
        params = {"valence": mood.valence, "arousal": mood.arousal, "bars": bars, "takes": takes}
        return whole(list(composer.bars(kind.of(Request(params, b"", seed)), [], lambda: None)))

    return make


class Matched(Asked):
    """A request whose moods differ in mode, register, articulation and polyphony alone."""

    def wanted(self, mood: Mood) -> Attributes:
        """As of the mood, but of one tempo, density, velocity and dynamics."""
        return replace(super().wanted(mood), bpm=BPM, density=DENSITY, velocity=VELOCITY, dynamics=DYNAMICS)


def matched(composer: Composer) -> Make:
    """Pieces of one tempo and one mean and spread of velocity, and one density as near as the composer comes when asked."""
    make = written(composer, kind=Matched)
    return lambda mood, bars, seed: levelled(make(mood, bars, seed))


def levelled(score: Score) -> Score:
    """At tempo BPM, velocities moved and spread so that their mean is VELOCITY and their deviation DYNAMICS, as near as steps
    come; what is all of one velocity stays so."""
    if not score.notes:
        return score
    loud = np.array([loudness(note.velocity) for note in score.notes])
    loud = VELOCITY + (loud - loud.mean()) * DYNAMICS / max(float(loud.std()), 1.0)
    steps_ = [velocity_step(round(one)) for one in loud.clip(1, 127).tolist()]
    notes = (note._replace(velocity=step) for note, step in zip(score.notes, steps_, strict=True))
    return tidy(notes, [tempo_step(BPM)] * score.bars)


def steps(run: Run, int8: bool) -> Steps:
    """The graphs of an attribute model, loaded."""
    return Steps(graph.step(run.weights, SIZES[run.size], int8), graph.tell(run.weights, SIZES[run.size]))


def remembering(weights: Weights, size: str, memory: NDArray[Any]) -> Steps:
    """A decoder whose memory [TOKENS, width] is the same whatever it is told."""
    width = SIZES[size].width
    shapes = {"tell.0.weight": (width, DESCRIBED), "tell.0.bias": (width,), "tell.2.weight": (TOKENS * width, width)}
    silent: dict[str, NDArray[np.float32]] = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    given: Weights = {**weights, **silent, "tell.2.bias": memory.reshape(-1).astype(np.float32)}
    return Steps(graph.step(weights, SIZES[size], False), graph.tell(given, SIZES[size]))


def played(loaded: Steps, bars: int, seed: int) -> Score:
    """What a composer plays that is told nothing: its tempi are its own."""
    return whole(list(Player(loaded, [Ask((0.0,) * DESCRIBED, None)] * bars, seed, Taste()).bars()))


def unconditional(run: Run) -> Make:
    """The same for every mood but for chance."""
    loaded = remembering(run.weights, run.size, run.weights["nothing"])
    return lambda mood, bars, seed: played(loaded, bars, 4 * seed + nearest(mood))


def mixture(run: Run) -> Make:
    """A GMVAE: z is drawn from the components of arousal and of valence that the mood names."""

    def make(mood: Mood, bars: int, seed: int) -> Score:
        random, w = np.random.default_rng((seed, nearest(mood))), run.weights
        z = []
        for axis, high in enumerate((mood.arousal > 0, mood.valence > 0)):
            mean, log_var = w["means"][axis, int(high)], np.clip(w["log_vars"][axis, int(high)], NARROW, WIDE)
            z.append(mean + np.exp(log_var / 2) * random.normal(size=len(mean)))
        return played(remembering(w, run.size, memory_of(w, np.array(z))), bars, seed)

    return make


def memory_of(w: Weights, z: NDArray[Any]) -> NDArray[Any]:
    """[2, width] what the decoder of a GMVAE reads of z [2, latent]."""
    return np.array([w[f"to_memory.{axis}.weight"] @ z[axis] + w[f"to_memory.{axis}.bias"] for axis in range(len(z))])


def nearest(mood: Mood) -> int:
    """The quadrant of a mood, 0 to 3."""
    return CORNERS.index(signs(mood))


def signs(mood: Mood) -> tuple[int, int]:
    """(valence, arousal) as -1 or 1."""
    return (1 if mood.valence > 0 else -1, 1 if mood.arousal > 0 else -1)


def trained(run: Run) -> list[System]:
    """The rows of one file of weights."""
    if run.kind == "unconditional":
        return [System(run.row, unconditional(run), run.sha256)]
    if run.kind == "gmvae":
        return [System(run.row, mixture(run), run.sha256)]
    loaded = steps(run, int8=True)
    ways: dict[str, Callable[[], Make]] = {
        ", fp32": lambda: written(Trained(steps(run, int8=False))),
        ", int8": lambda: written(Trained(loaded)),
        ", int8, takes 2": lambda: written(Trained(loaded, chooser()), 2),
        ", int8, without form": lambda: written(Trained(loaded, form=False)),
        ", int8, matched": lambda: matched(Trained(loaded)),
    }
    return [System(run.row + form, ways[form](), run.sha256, form == ", int8") for form in FORMS[run.size]]


def chooser() -> Selector:
    """The selector that ships; one without gate and filter where none does."""
    card = CARDS.get("music-selector")
    return Selector.load(card.folder / card.file) if card and card.folder else Selector()


def untrained(real: Real) -> list[System]:
    """The rows that need no weights."""
    mine = real.pieces("train", "dev")
    usual = gates.usual(mine)

    def controlled(control: Control) -> Make:
        return lambda mood, bars, seed: control(signs(mood), bars, seed)

    return [
        System(TABLE, written(Rules()), anywhere=True),
        *(System(f"{TABLE}, takes {takes}", written(Rules(chooser()), takes)) for takes in TAKES),
        System(f"{TABLE}, matched", matched(Rules())),
        System("order-3 Markov", lambda mood, bars, seed: real.markov.sample(bars, 4 * seed + nearest(mood)), kind="Markov"),
        System("in-key random", controlled(in_key(usual)), kind="in-key random"),
        System("atonal random", controlled(atonal(usual)), kind="atonal random"),
        System(SHUFFLED, controlled(shuffled(mine["emopia"])), kind="bar-shuffled"),
    ]


REAL = "real music"
SHUFFLED = "bar-shuffled real"
OF_REAL = (REAL, SHUFFLED)
"""The rows whose notes are those of the training set."""


def labelled(real: Real, bars: int) -> list[tuple[int, str, Score]]:
    """(quadrant, song, excerpt) of every labelled piece of the generators' half that is long enough: no judge knows it.

    Those of training were seen by the reference model of the gate, which calls them likely.
    """
    mine = real.pieces("train", "dev")["emopia"]
    return [
        (number, song, score)
        for number, mood in enumerate(CORNERS)
        for song, score in excerpts([one for one in mine if one.mood == mood], bars)
    ]
