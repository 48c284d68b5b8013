"""The curves of the table as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STYLE = {
    "random": ("#888888", "--"),
    "sd": ("#2f6f9f", "-"),
    "shortest first": ("#c9a227", "-"),
    "predicted disagreement": ("#c2453d", "-"),
    "predicted disagreement, n-grams": ("#7a4fa3", "-"),
    "oracle: disagreement": ("#4c8c4a", ":"),
}
TITLES = {"dev": "dev, the files that ship", "cv": "cross-validation by document"}


def draw(table: dict[str, Any], file: Path) -> None:
    """Mean r against the share sent, a panel a part; the band is the 95 % interval of the router that ships."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": table["table"], "svg.fonttype": "none"}
    parts = list(dict.fromkeys(row["part"] for row in table["rows"]))
    figure, panels = pyplot.subplots(1, len(parts), figsize=(5 * len(parts), 4), layout="constrained", squeeze=False)
    for panel, part in zip(panels[0], parts, strict=True):
        for row in table["rows"]:
            if row["part"] != part or row["router"] not in STYLE:
                continue
            colour, line = STYLE[row["router"]]
            panel.plot(table["shares"], row["mean_r"], line, color=colour, label=row["router"], linewidth=1.6)
            if row["router"] == table["shipped"]:
                low, high = zip(*row["ci95"], strict=True)
                panel.fill_between(table["shares"], low, high, color=colour, alpha=0.12, linewidth=0)
        panel.set(xlabel="share of sentences sent to base", ylabel="mean Pearson r", title=TITLES[part], xlim=(0, 1))
    panels[0][-1].legend(loc="lower right", frameon=False, fontsize=8)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
