"""The results table of generation as Markdown, built from its JSON alone (evaluation §9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moodmesh.tasks.music.judge.measures import METRICS
from moodmesh.tasks.music.judge.report import figure
from moodmesh.tasks.music.judge.structure import NAMES
from moodmesh.tasks.music.results import habits
from moodmesh.tasks.music.results.real import JUDGES
from moodmesh.tasks.tables import Table

NOTES = (
    "'Judged' is what machines say that learned from other songs; nobody was asked how a piece feels, and nothing here says"
    " that a listener would feel anything. The template of a listening test goes with the listening pack; no results of "
    "people exist.",
    "A piece is asked for by the word of its quadrant: happy, angry, sad, calm. It counts where the judge says the quadrant"
    " (or the arousal, the valence) that was asked for; 'with the gate' only if the piece passes the musicality gate as "
    "well. Real music passes as often as its rows say (each piece at a gate that saw none of its group), and no row can be "
    "expected above that by much; it may be, when it keeps to the middle of what is usual.",
    "Real music is labelled excerpts of the generators' half of EMOPIA, which no EMOPIA judge knows: the ceiling. Its label"
    " is of a whole clip by one annotator. The second judge learned from VGMIDI and is weak on EMOPIA; with it the order of"
    " rows matters, not the level.",
    "Only excerpts of 16 bars can be at the gate, and most clips are shorter: the row of real music is few songs, livelier "
    "than the others of their mood. Bar-shuffled pieces are made of the same few, so that their interval, over seeds, is too "
    "narrow.",
    "Intervals are bootstraps over seeds (real music: songs), sd over five groups of seeds; both judge and weights are "
    "fixed, so they say nothing of another training seed. 'above the table' is drawn in pairs of one seed, rows that are "
    "matched or the best of n takes with the table's row of the same.",
    "Matched rows are asked for one tempo, density, velocity and dynamics in every mood; then all are set to 96 quarters a "
    "minute and to one mean and spread of velocity. What is left of arousal is articulation and register (polyphony follows "
    "valence alone), and what density a composer did not match: note rates by quadrant are beside it.",
    "Random, Markov and bar-shuffled rows are kinds that the classifier of the gate learned to refuse; what passes a gate "
    "that never met the kind stands beside. The gate's surprise is asked of the unconditional model: its own row, and those "
    "of GMVAEs that began with its decoder, are likely to it. Judges and classifier share no song with what composers "
    "learned from.",
    "The attribute model learned from free music without any label. What a mood wants of it comes from published rules, the"
    " same that the rule composer plays: above that row is what the model adds, mostly at the gate.",
    "How pieces of the attribute model end, that later phrases begin as the first, and that pitches tire are rules; how much "
    "comes again was chosen by structure statistics and the gate, on music that the gate is made of; how soon pitches tire by "
    "strikes in POP909, gate and these judges on some twenty pieces of other seeds (a stronger one cost judged valence). "
    "'Without form' is the model without the first two; unconditional model and GMVAE have none.",
    "Structure statistics compare each row with unseen real music of both halves; held real music and that of the judges' half "
    "with each other.",
    "'z from p(z given y)' takes the label of a window, and where it has none what q(y | x) says of that window, and estimates "
    "by 8 draws, which is too high on average; '-ELBO' is of one draw.",
    "The attribute model is told the true attributes of each phrase of dev music, the Markov model and the unconditional "
    "one nothing: part of its likelihood is what it was told. Markov and GMVAE learned from EMOPIA too, the others did not: "
    "compare them on the free sets. A GMVAE has the tokens of the unconditional model, with whose decoder it begins, and its "
    "own; the three of each kind share that start, so that their spread is less than that of whole trainings.",
    "Trained for hours on two cores, not for days: `tiny` by attributes and without on 20 million tokens each, `base` on 16, "
    "each GMVAE on 4 beside the 20 of the decoder that it begins with, whatever its labels. Nothing longer was tried: what is "
    "said of a GMVAE's moods, and that a `tiny` which is told so much is not likelier than one told nothing, is said of that.",
    "'takes n' rows play each phrase n times and keep the best by attributes, a gate of other music, novelty and "
    "repetition (the rules: n whole pieces); all other rows are first takes. No judge of this table has a part in the choice.",
    "Copying counts steps of (interval, time to the next note): the same tune in another key or tempo is a copy. The "
    "training set is all that any composer learned from, of all four sets. The limit is the 99th percentile of held real music"
    " of the same length against it; of real pieces 1 % lies beyond it; they are few, so that "
    "the limit is about their largest. Rows made of real music are left out.",
    "Transfer starts from pieces that a GMVAE may have learned from (no judge knows them): what it keeps of them is "
    "flattered. Rules have learned nothing.",
    "A label fraction is that share of the songs of each mood, one draw; every run hears the same windows, and those of the "
    "other songs have no label.",
    "Random rows have the medians of each quadrant of labelled music; bar-shuffled rows are real bars and pass most of the "
    "gate, which asks whether notes are like music, not whether a piece has a form.",
    f"What a musician would hear: of notes, those whose pitch is struck {habits.AGAIN} times or more in their bar and the one "
    f"before; bars in a row whose pitch classes agree by {habits.ALIKE:.0%}; first bars, and bars, without a note on their "
    "first place; of moments with several notes those with two a semitone apart, octaves aside; of steps of the highest notes "
    "those above an octave; semitones from the top of the bar before the last to the top of the last. Real music is cut out of "
    "songs: its last bars end nothing. Counts, not taste.",
    "Bars, tempo and the instrument are fixed here (16 bars, the composer's tempo, piano): other lengths were not judged.",
)


def markdown(table: Table) -> str:
    """The whole page."""
    parts = [_head(table), _control(table), _judges(table), _gate(table), _matched(table), _grid(table), _nats(table)]
    parts += [
        _training(table),
        _labels(table),
        _latents(table),
        _transfer(table),
        _copying(table),
        _statistics(table),
        _habits(table),
        _confusion(table),
    ]
    return "\n\n".join([part for part in parts if part] + [_foot(table)]) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows))


def _shown(value: float | None) -> str:
    return "–" if value is None else figure(value)


def _between(row: Table) -> str:
    return f"{figure(row['mean'])} [{figure(row['ci95'][0])}, {figure(row['ci95'][1])}]"


def _head(table: Table) -> str:
    seeds = table["seeds"]
    lines = [
        "# generation: do composers express the mood they are asked for, as music, without copying?",
        "",
        f"- **Measured**: {seeds['a mood']} pieces of {seeds['bars']} bars a mood and row, judged by machine.",
        "- **On**: the open parts; no judge knows a song that a composer learned from.",
        "- **Does not show**: what a listener feels; whether a piece is liked; other lengths and instruments.",
        "- **Strongest baseline**: the attribute table played by the rule composer, without a model.",
    ]
    if table["missing"]:
        lines.append(f"- **Not trained yet**: {', '.join(table['missing'])}.")
    return "\n".join([*lines, "", "![Judged as asked, the grid of moods, and confusion](generation.svg)"])


def _by(table: Table) -> dict[tuple[str, str, bool, str], Table]:
    return {(row["system"], row["judge"], row["gate"], row["metric"]): row for row in table["rows"]}


def _names(table: Table) -> list[str]:
    return list(dict.fromkeys(row["system"] for row in table["rows"]))


def _untrained(table: Table, columns: int) -> list[list[str]]:
    return [[name, "not trained yet", *["–"] * (columns - 2)] for name in table["missing"]]


def _control(table: Table) -> str:
    rows, means = [], _by(table)
    for name in _names(table):
        found = [means[name, "base", gated, metric] for gated in (False, True) for metric in METRICS]
        over = found[5]["less_table"]
        above = "–" if over is None else f"{over[0]:+.3f} [{over[1]:+.3f}, {over[2]:+.3f}]"
        spread = " / ".join(_shown(one["sd"]) for one in found[3:])
        rows.append(
            [name, str(found[0]["n"]), *(figure(one["mean"]) for one in found[:3]), *map(_between, found[3:]), spread, above]
        )
    header = [
        "row",
        "n",
        *METRICS,
        *(f"{metric}, with the gate" for metric in METRICS),
        "sd of groups",
        "valence above the table",
    ]
    said = "Judged as asked by the base judge, alone and where the piece passes the gate"
    return f"## {said}\n\n" + _table(header, [*rows, *_untrained(table, len(header))])


def _judges(table: Table) -> str:
    means = _by(table)
    rows = [
        [
            name,
            *(
                " / ".join(figure(means[name, judge, gated, m]["mean"]) for m in METRICS)
                for judge in JUDGES
                for gated in (False, True)
            ),
        ]
        for name in _names(table)
    ]
    header = ["row", *(f"{judge}{gated}" for judge in JUDGES for gated in ("", ", with the gate"))]
    return "## All judges: quadrant / arousal / valence\n\n" + _table(header, rows)


def _gate(table: Table) -> str:
    rows = [
        [
            row["system"],
            str(row["n"]),
            *(_shown(row[part]) for part in ("passes", "new", "real", "nll", "structure")),
            str(row["without notes"]),
        ]
        for row in table["gate"]
    ]
    new = "passes one that never met the kind"
    header = ["row", "n", "passes", new, "classifier", "NLL", "structure", "pieces without notes"]
    asked = table["gate_reference"]
    reference = asked if " " in asked else f"the unconditional model {asked[:12]}"
    return f"## What passes the gate, its surprise asked of {reference}\n\n" + _table(header, rows)


def _matched(table: Table) -> str:
    lines = []
    for name in (name for name in _names(table) if name.endswith("matched")):
        row = _by(table)[name, "base", False, "arousal"]
        rates = " / ".join(f"{found['note rate']:.2f}" for found in table["heard"][name])
        lines.append([name, _between(row), figure(_by(table)[name, "base", True, "arousal"]["mean"]), rates])
    header = ["row", "arousal", "with the gate", "notes a second, Q1 / Q2 / Q3 / Q4"]
    return "## Arousal with tempo, density, velocity and dynamics matched\n\n" + _table(header, lines)


def _grid(table: Table) -> str:
    rows = [
        [name, str(found["n"]), *(figure(found[part]) for part in ("speed_arousal", "judged_arousal", "judged_valence"))]
        for name, found in table["grid"].items()
    ]
    header = ["row", "n", "tempo x density", "judged arousal", "judged valence"]
    modes = [[name, figure(table["mode"][name]), f"{apart:.3f}"] for name, apart in table["from_asked"].items()]
    said = "## Over a 5 x 5 grid of moods: Spearman of what was asked with"
    near = _table(["row", "the best key has the mode of the mood", "distance from what the attribute table asks"], modes)
    return f"{said}\n\n{_table(header, rows)}\n\n## Attributes as asked\n\n{near}"


def _nats(table: Table) -> str:
    sets = list(next(iter(table["nats"].values())))
    rows = [[name, *(f"{found[part]:.3f}" for part in sets)] for name, found in table["nats"].items()]
    rows += [[name, "not trained yet", *["–"] * (len(sets) - 1)] for name in table["missing"]]
    said = f"## Nats per token of dev music ({table['seeds']['windows']} windows of 1,024 tokens a set), the less the better"
    return f"{said}\n\n" + _table(["row", *sets], rows)


def _training(table: Table) -> str:
    if not table["training"]:
        return ""
    rows = [
        [name, str(found["seeds"]), *(f"{figure(found[metric][0])} ± {figure(found[metric][1])}" for metric in METRICS)]
        for name, found in table["training"].items()
    ]
    said = "## Over training seeds: mean ± sd by the base judge, with the gate"
    return f"{said}\n\n" + _table(["row", "training seeds", *METRICS], rows)


def _labels(table: Table) -> str:
    if len(table["labels"]) < 2:
        return ""
    parts = [part for part in table["labels"][0] if part not in ("share", "seeds")]
    rows = [
        [
            f"{100 * one['share']:g} %" if one["share"] else "scrambled",
            str(one["seeds"]),
            *(figure(one[part]) for part in parts),
        ]
        for one in table["labels"]
    ]
    header = ["labels", "training seeds", *(part if part.startswith("q") else f"{part}, with the gate" for part in parts)]
    return "## By the share of labels: judged as asked, and labels named in the judges' half\n\n" + _table(header, rows)


def _latents(table: Table) -> str:
    if not table["latents"]:
        return ""
    held, moves, labels = [], [], []
    for name, found in table["latents"].items():
        said = found["named"]
        shares = [f"{figure(share)} [{figure(low)}, {figure(high)}]" for share, low, high in (said["poly"], said["mode"])]
        labels.append([name, f"{said['n']} of {said['songs']} songs", *shares])
        held.append([name, *(f"{value:.3g}" for value in found["alarms"].values())])
        if "exchange" not in found:
            continue
        gone = [f"{share:.2f} [{low:.2f}, {high:.2f}]" for share, low, high in found["exchange"].values()]
        told = [f"{figure(found['kept'][one][other])}" for one in found["kept"] for other in found["kept"]]
        beside = [" / ".join(figure(value) for value in found[one].values()) for one in ("again", "other")]
        moves.append([name, str(found["pairs"]), *gone, *told, *beside])
    alarms = list(next(iter(table["latents"].values()))["alarms"])
    held_said = "KL a dimension, active units, entropies of q(y), accuracy of q(y) on dev, distance of components"
    parts = [
        f"## Collapse: {held_said}\n\n" + _table(["row", *alarms], held),
        "## Labels named by q(y) in the judges' half, of which no composer learned\n\n"
        + _table(["row", "clips", "arousal", "valence"], labels),
    ]
    if moves:
        some = next(found for found in table["latents"].values() if "exchange" in found)
        cosines = [f"{one} moved: {other}" for one in some["kept"] for other in some["kept"]]
        beside = ["nothing moved: poly / mode", "another piece: poly / mode"]
        parts.append(
            "## Exchange and disentanglement\n\nThe share of the way to its donor that a piece goes with half of the donor's"
            " latents (0: it stays); then cosines of the latents of a piece played before and after one of them moved between "
            "its components (1: as before), beside two playings of the same latents and two pieces of other latents.\n\n"
            + _table(["row", "pairs", *some["exchange"], *cosines, *beside], moves)
        )
    return "\n\n".join(parts)


def _transfer(table: Table) -> str:
    if not table["transfer"]:
        return ""
    lines, counts = [], []
    for name, found in table["transfer"].items():
        means = {(row["gate"], row["metric"]): row for row in found["rows"] if row["judge"] == "base"}
        lines.append(
            [
                name,
                str(next(iter(means.values()))["n"]),
                *(_between(means[False, metric]) for metric in METRICS),
                *(figure(means[True, metric]["mean"]) for metric in METRICS),
                *(figure(value) for value in found["content"].values()),
            ]
        )
        counts.append([name, *(" ".join(map(str, row)) for row in found["confusion"])])
    content = list(next(iter(table["transfer"].values()))["content"])
    header = ["row", "n", *METRICS, *(f"{metric}, with the gate" for metric in METRICS), *content]
    return (
        "## Transfer: real pieces put into the three other moods, judged as asked; what is kept of them\n\n"
        + _table(header, lines)
        + "\n\n### Asked for (columns) and judged Q1 Q2 Q3 Q4 (in each cell), all four moods\n\n"
        + _table(["row", "Q1", "Q2", "Q3", "Q4"], counts)
    )


def _copying(table: Table) -> str:
    rows = []
    for name, lines in table["copying"].items():
        for line, found in lines.items():
            rows.append([name, line, *map(_copied, found.values())])
    figures = list(next(iter(next(iter(table["copying"].values())).values())))
    said = "## Copied from the training set: mean / largest / 99th percentile of real music / share of pieces beyond it"
    return f"{said}\n\n" + _table(["row", "line", *figures], rows)


def _copied(one: Table) -> str:
    return f"{one['mean']:.3g} / {one['largest']:.3g} / {one['real_99']:.3g} / {figure(one['beyond'])}"


def _statistics(table: Table) -> str:
    rows = [
        [name, *(f"{found[one]['mean']:.3g} ({figure(found[one]['overlap'])}, {found[one]['kl']:.2f})" for one in NAMES)]
        for name, found in table["statistics"].items()
    ]
    return "## Structure: mean (overlap with real music, KL from it)\n\n" + _table(["row", *NAMES], rows)


def _habits(table: Table) -> str:
    lines = []
    for name, found in table["habits"].items():
        lines.append([name, *(f"{found[one]['mean']:.2f}" for one in habits.NAMES)])
        if name.endswith(", int8"):
            moods = list(found[habits.NAMES[0]]["by_mood"])
            lines += [[f"{name}: {mood}", *(f"{found[one]['by_mood'][mood]:.2f}" for one in habits.NAMES)] for mood in moods]
    return "## What a musician would hear: means\n\n" + _table(["row", *habits.NAMES], lines)


def _confusion(table: Table) -> str:
    made = []
    for name, rows in table["confusion"].items():
        body = [[f"Q{number + 1}", *map(str, row)] for number, row in enumerate(rows)]
        made.append(f"### {name}\n\n" + _table(["asked", "Q1", "Q2", "Q3", "Q4"], body))
    return "## Confusion by the base judge: quadrants asked for (rows) and judged\n\n" + "\n\n".join(made)


def _foot(table: Table) -> str:
    notes = "\n".join(f"- {note}" for note in table["notes"])
    made = f"Made {table['created']} from commit {table['commit'][:12]}, on {table['hardware']['cpu']}."
    return f"## Notes\n\n{notes}\n\n{made}"
