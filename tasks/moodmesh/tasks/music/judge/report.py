"""The results table of the judge as Markdown, built from its JSON alone (evaluation §9)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from moodmesh.tasks.music.judge.measures import METRICS
from moodmesh.tasks.tables import Table

NOTES = (
    "Measured on the open parts of EMOPIA and VGMIDI only; the sealed parts were not scored by this project.",
    "The first table compares ways of judging on all 990 clips of EMOPIA. The judges that ship learn from the judges' half "
    "alone, on which no generator and no selector learns: their own accuracy is in the second table.",
    "All rows but 'as published' judge pieces after beat tracking and the tokeniser, moved to C major or A minor.",
    "Intervals are bootstraps over songs (VGMIDI: series) of the mean over five shuffles of the folds; sd is over shuffles.",
    "The goals for all clips were .74/.92/.81 for quadrant, arousal and valence; the row that ships is base's way, 'rich, "
    "logistic and kernel'. A two-layer BiLSTM of 128 on notes, with attention and the key fits by feature-wise modulation, was "
    "tried on four of five folds of one shuffle and was no better than the floor on quadrants: it does not ship.",
    "An arousal judge of EMOPIA does little better than chance on VGMIDI, and not much better the other way round: one set is "
    "played, the other written, and loudness and speed mean other things in them. Valence carries over one way. Both judges "
    "are asked, each with its own accuracy beside it; neither measures what anybody feels.",
    "The series of VGMIDI are few (14), so its intervals are wide and its chances badly calibrated.",
    "The gate: three numbers, each inside the 5-95 % band of real music of the same length from other groups. Were they "
    "independent, .73 of real music would pass. 'real' rows are cross-fitted: the groups that the classifier learns from, "
    "those of the bands and those tested are disjoint. Chorales mostly fail: they are far more predictable than the rest.",
    "'kind' rows are new pieces of kinds of false music that the classifier learned to know; 'unseen' rows the same at a "
    "gate that never met their kind: in-key random notes then pass in part. The gate knows what it was shown.",
    "Bar-shuffled pieces mostly pass: in eight bars the order of bars is hard to hear for these figures. The gate asks whether "
    "notes are like music, not whether a piece has a form.",
    "A control counts where the judge says what was intended and the gate lets it pass. The gate met random notes with the "
    "medians of the judges' half; the controls have those of the generators' half.",
)
_TITLES = {
    "emopia": "Ways of judging: all clips of EMOPIA, five folds by song",
    "half": "The judges that ship: the judges' half of EMOPIA, five folds by song",
    "vgmidi": "The second judge: VGMIDI, five folds by series",
    "cross": "Across sets: learned from all of one, asked about the other",
}


def markdown(table: Table) -> str:
    """The whole page."""
    tables = [*(_part(table, part) for part in _TITLES), _confusion(table), _gate(table), _counted(table)]
    return "\n\n".join([_head(table), *tables, _foot(table)]) + "\n"


def figure(value: float) -> str:
    """Three decimals without the zero."""
    return f"{value:.3f}".replace("0.", ".", 1)


def _grid(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(header)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _head(table: Table) -> str:
    summary = table["summary"]
    floor = "/".join(figure(value) for value in summary["floor"])
    return "\n".join(
        [
            "# music.judge: arousal and valence of pieces for the piano, and whether they are music",
            "",
            "- **Measured**: agreement with the quadrant of one annotator a clip (EMOPIA), of the mean of raters (VGMIDI).",
            "- **On**: EMOPIA 990 clips of 355 songs, VGMIDI 170 pieces of 14 series, open parts.",
            "- **Does not show**: what a listener feels; other instruments or styles; that what passes the gate is good.",
            f"- **Strongest baseline**: logistic regression on 12 note statistics, accuracy 4Q/arousal/valence {floor}.",
        ]
    )


def _part(table: Table, part: str) -> str:
    rows: dict[str, dict[str, Any]] = {}
    for row in table["rows"]:
        if row["part"] == part:
            rows.setdefault(row["system"], {})[row["metric"]] = row
    header = ["system", *METRICS, "macro-F1 4Q", "balanced a / v", "ECE a / v", "p against floor 4Q / a / v"]
    made = []
    for name, found in rows.items():
        four, arousal, valence = (found[metric] for metric in METRICS)
        p = (
            "–"
            if four["p_against_floor"] is None
            else " / ".join(figure(found[metric]["p_against_floor"]) for metric in METRICS)
        )
        even = f"{figure(arousal['balanced'])} / {figure(valence['balanced'])}"
        ece = f"{figure(arousal['ece'])} / {figure(valence['ece'])}"
        made.append([name, *(_accuracy(found[metric]) for metric in METRICS), figure(four["macro_f1"]), even, ece, p])
    return f"## {_TITLES[part]}\n\n{_grid(header, made)}"


def _accuracy(row: dict[str, Any]) -> str:
    spread = "" if row["sd"] is None else f" ± {figure(row['sd'])}"
    low, high = row["ci95"]
    return f"{figure(row['mean'])}{spread} [{figure(low)}, {figure(high)}]"


def _confusion(table: Table) -> str:
    rows = [[f"Q{n + 1}", *(f"{value:.0f}" for value in row)] for n, row in enumerate(table["confusion"])]
    grid = _grid(["labelled", "Q1", "Q2", "Q3", "Q4"], rows)
    return f"## Confusion of base in the judges' half, clips as labelled (rows) and judged\n\n{grid}"


def _gate(table: Table) -> str:
    header = ["pieces", "n", "all three", "classifier", "NLL", "structure"]
    rows = [
        [row["what"], str(row["n"]), f"{figure(row['passes'])} [{figure(row['ci95'][0])}, {figure(row['ci95'][1])}]"]
        + [figure(row[name]) for name in ("real", "nll", "structure")]
        for row in table["gate"]["rows"]
    ]
    return f"## What the gate lets pass, pieces of {table['gate']['bars']} bars\n\n{_grid(header, rows)}"


def _counted(table: Table) -> str:
    header = ["control", "judge", *(f"{metric} alone, with the gate" for metric in METRICS)]
    rows = [
        [row["control"], row["judge"], *(f"{figure(row[metric][0])}, {figure(row[metric][1])}" for metric in METRICS)]
        for row in table["counted"]
    ]
    return f"## A judge alone is fooled: the share of controls judged as intended\n\n{_grid(header, rows)}"


def _foot(table: Table) -> str:
    notes = "\n".join(f"- {line}" for line in table["notes"])
    made = f"Made {table['created']} from commit {table['commit'][:12]}{' (changed)' if table['dirty'] else ''}"
    return f"## Notes\n\n{notes}\n\n{made}, on {table['hardware']['cpu']}."
