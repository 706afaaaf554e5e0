"""What quantizing cost and what each file takes: report.md, report.json and pictures."""

from __future__ import annotations

import json

from quantize import measure
from quantize.costs import label_sets
from quantize.report.facts import Report, facts_of
from quantize.report.text import markdown


def files_of(report: Report) -> dict[str, bytes]:
    """Every file of *report*, name -> content; without matplotlib no pictures, and a line that says so."""
    try:
        pictures = _pictures(report)
    except ImportError as error:
        print(f"report without pictures: {error}; `pip install emotion-edge[quantize]` would do")
        pictures = {}
    facts = json.dumps(facts_of(report), indent=1, ensure_ascii=False)
    text = markdown(report, pictures)
    return {"report.md": text.encode(), "report.json": f"{facts}\n".encode(), **pictures}


def _pictures(report: Report) -> dict[str, bytes]:
    from quantize.report import plots

    made, part = report.made, label_sets(report.made.data)[-1]
    before, after = made.before[part.rows], made.probabilities[report.int8][part.rows]
    errors = [measure.calibration_error(some, part.truth) for some in (before, after)]
    drawn = {
        "accuracy.png": plots.accuracy(made.costs),
        "latency.png": plots.latency(report.latency),
        "reliability.png": plots.reliability(
            measure.reliability(before, part.truth), measure.reliability(after, part.truth),
            (f"float network: ECE {errors[0]:.3f}", f"{report.int8}: ECE {errors[1]:.3f}"),
        ),
    }  # fmt: skip
    return drawn | ({"layers.png": plots.layers(report.layers)} if report.layers else {})
