"""The report of a quantization: report.md, report.json and plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from quantize.costs import label_sets
from quantize.figures import scores
from quantize.report.facts import Report, facts_of
from quantize.report.text import markdown


def files_of(report: Report) -> dict[str, bytes]:
    """Every file of *report*, name -> content."""
    return written(partial(_pictures, report), partial(markdown, report), facts_of(report))


def written(
    draw: Callable[[], dict[str, bytes]], text: Callable[[Collection[str]], str], facts: Mapping[str, Any]
) -> dict[str, bytes]:
    """report.md from *text* (given the plots' names), report.json of *facts*, and the plots from *draw*.

    Without matplotlib there are no plots, and a line says so.
    """
    try:
        pictures = draw()
    except ImportError as error:
        print(f"report without plots: {error}; run `pip install emotion-edge[quantize]`")
        pictures = {}
    dumped = json.dumps(facts, indent=1, ensure_ascii=False)
    return {"report.md": text(pictures).encode(), "report.json": f"{dumped}\n".encode(), **pictures}


def _pictures(report: Report) -> dict[str, bytes]:
    from quantize.report import plots

    made, part = report.made, label_sets(report.made.data)[-1]
    before, after = made.before[part.rows], made.probabilities[report.int8][part.rows]
    errors = [scores.calibration_error(some, part.truth) for some in (before, after)]
    drawn = {
        "accuracy.png": plots.accuracy(made.costs),
        "latency.png": plots.latency(report.latency),
        "reliability.png": plots.reliability(
            scores.reliability(before, part.truth), scores.reliability(after, part.truth),
            (f"float network: ECE {errors[0]:.3f}", f"{report.int8}: ECE {errors[1]:.3f}"),
        ),
    }  # fmt: skip
    return drawn | ({"layers.png": plots.layers(report.layers)} if report.layers else {})
