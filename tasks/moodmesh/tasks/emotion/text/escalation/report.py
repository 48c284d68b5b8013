"""The escalation table as Markdown, built from its JSON alone (evaluation §9)."""

from __future__ import annotations

from typing import Any

from moodmesh.tasks.emotion.text.report import figure, foot

NOTES = (
    "Measured on the open part of EmoBank only; the sealed part was not scored.",
    "dev is the two files that ship, tiny and base int8, on the official dev part: sentences of one document stand on "
    "both sides of that split. cv is five folds by document, where base is a single run put on its regression line, "
    "learnt on the other folds: a raw single run is spread twice as widely as tiny, and r of a mixture rewards whoever "
    "sends the extreme sentences to the wider model (with raw runs the areas are larger by a third to a half, and mean "
    "less).",
    "A learned router is fitted on rows whose predictions come from models that had not seen them: in cv on the other "
    "folds, for dev on official train rows. The models that predicted those rows had seen some of the held ones, as in "
    "any stacking.",
    "predicted disagreement needs no label: its target is how far base is from tiny. predicted gain is fitted to the true"
    " gain, and is no better for it: the gain of one sentence is mostly the noise of its rating. n-grams is the same "
    "target from tiny's own n-grams. It would cost 262 kB more of tiny's table, and does not ship.",
    "Tried for the router that ships: with and without sd, squares and products of the moods, square roots of the target,"
    " boosted trees, twelve counts of marks and words: no difference beyond the intervals, on cv or on dev, so the "
    "smallest ships.",
    "random is an expectation, not a draw. oracle: disagreement knows base's answer before asking; oracle: gain knows the"
    " rating, and passes base because it also picks by the rating's noise. No router can reach either. shuffled is the "
    "control.",
    "Intervals and p are bootstraps over documents, the same draws for every router; an interval that holds 0 is no "
    "difference.",
)
GOAL = "evaluation §6 asks for 95 % of base's quality with at most 40 % of the sentences sent"


def markdown(table: dict[str, Any]) -> str:
    """The whole page."""
    parts = [_head(table), *(_part(table, part) for part in dict.fromkeys(row["part"] for row in table["rows"]))]
    return "\n\n".join([*parts, _policy(table), foot(table, f"{table['seeds']['draws']} draws")]) + "\n"


def _head(table: dict[str, Any]) -> str:
    quick = "\n\n**A quick run: dev only, few bootstrap draws.**" if table["quick"] else ""
    figure = "" if table["quick"] else "\n\n![Quality against the share sent](emotion.text.escalation.svg)"
    return (
        f"# {table['table']}: what is reached when tiny answers, and base only what tiny is unsure of{quick}\n\n"
        "- **Measured**: Pearson r with people's ratings, mean of valence, arousal and dominance, against the share of "
        "sentences that base answers.\n"
        "- **On**: EmoBank, open part: dev and five folds by document.\n"
        "- **Does not show**: other kinds of text; the time it takes, which the mesh decides.\n"
        f"- **Strongest baseline**: sending sentences at random. Goal: {GOAL}. {_verdict(table)}{figure}"
    )


def _verdict(table: dict[str, Any]) -> str:
    rows = [row for row in table["rows"] if row["router"] == table["shipped"]]
    met = all(row["share_for_95_percent"] <= 0.4 for row in rows)
    return "It is met." if met else "It is not met."


def _part(table: dict[str, Any], part: str) -> str:
    rows = [row for row in table["rows"] if row["part"] == part]
    shares = [n for n, share in enumerate(table["shares"]) if round(share * 100) % 20 == 0]
    heads = " | ".join(f"{table['shares'][n]:.0%}" for n in shares)
    lines = [
        f"## {part}: {rows[0]['n']} sentences of {rows[0]['n_groups']} documents",
        "",
        f"| router | {heads} | area over random | p | p against sd | 95 % of base at | of base at 40 % |",
        "|---" * (len(shares) + 6) + "|",
    ]
    for row in rows:
        name = f"**{row['router']}** (ships)" if row["router"] == table["shipped"] else row["router"]
        curve = " | ".join(figure(row["mean_r"][n]) for n in shares)
        low, high = row["area_ci95"]
        between = f"{row['area_over_random']:+.3f} [{low:+.3f}, {high:+.3f}]"
        needed = f"{row['share_for_95_percent']:.0%}"
        ps = " | ".join("" if p is None else f"{p:.3f}" for p in (row["p_against_random"], row["p_against_sd"]))
        lines.append(f"| {name} | {curve} | {between} | {ps} | {needed} | {row['kept_at_40_percent']:.1%} |")
    return "\n".join(lines)


def _policy(table: dict[str, Any]) -> str:
    lines = [
        "## As a job does it: `--escalate SHARE` on dev, each document a request",
        "",
        "A sentence is sent when it passes the threshold of the share on the training sentences, and at most the share of one "
        "request, rounded down.",
        "",
        "| asked, at most | sent | V | A | D | mean r |",
        "|---|---|---|---|---|---|",
    ]
    for row in table["policy"]:
        axes = " | ".join(figure(value) for value in row["r"])
        lines.append(f"| {row['share']:.0%} | {row['sent']:.1%} | {axes} | {figure(row['mean_r'])} |")
    return "\n".join(lines)
