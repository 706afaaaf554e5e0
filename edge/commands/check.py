"""`emotion-edge check`: validate and print the configuration; replay golden vectors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from edge.analysis.card import is_detector, read_detector
from edge.analysis.detectors import file_of, first_of
from edge.analysis.detectors.ssd import Ssd
from edge.analysis.golden import SUFFIX, Answers, Golden, Outputs, deviations, read_golden, what
from edge.cli import file_path
from edge.commands.chips import asked
from edge.commands.options import add_config
from edge.node.build import open_engine
from edge.settings import SEARCHED, Settings, resolve
from edge.settings.shown import tables_of
from edge.types import ConfigError, EdgeError, Runtime

CONFIGURED = Path()  # --model without a file


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="validate the configuration and print it; replay a model's golden vectors",
        description="Prints the settings in force as TOML, with the origin of each that was set; secrets are"
        " masked. Exit code 78 and one line for each mistake where the configuration is wrong.",
    )
    add_config(parser)
    parser.add_argument(
        "--model", type=file_path, nargs="?", const=CONFIGURED, metavar="F",
        help="instead: run the golden vectors of the configured model and detector, or of the classifier's or"
        " detector's file F, as the daemon runs them; exit code 1 where the outputs differ",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings, file, origins = resolve(options.config)
    if options.model is not None:
        return _replay(settings, None if options.model == CONFIGURED else options.model)
    if file is not None:
        print(f"# {file}: no mistakes")
    else:
        print(f"# no file ({' nor '.join(map(str, SEARCHED))}): defaults")
    print("".join(f"# {line}\n" for line in (*_missing_chips(settings), *_missing_page(settings))), end="")
    for title, lines in tables_of(settings, origins):
        print(f"\n{title}")
        print("\n".join(lines))
        if title == "[detector]":
            print(f"# which tries first: {first_of(settings.detector.kind, settings.detector.file)}")
    return 0


def _missing_chips(settings: Settings) -> Iterator[str]:
    """A line for each accelerator that is configured and missing; ConfigError as the daemon's."""
    try:
        for one in asked(settings):
            if one.lacks:
                yield f"{one.table}: {one.kind}: {one.lacks}; the next runtime or the CPU is used instead"
    except ConfigError:
        raise
    except EdgeError as error:
        yield str(error)


def _missing_page(settings: Settings) -> Iterator[str]:
    """The daemon's line where a page is configured and what serves it is not installed."""
    from edge.web import lacks

    try:
        if settings.web.enabled:
            import edge.web.page  # noqa: F401
    except ImportError as error:
        yield lacks(error)


def _replay(settings: Settings, file: Path | None) -> int:
    """Replay the golden vectors of *file*, a classifier or a detector, else of what is configured."""
    if file is None:
        _classifier(settings)
        detector = file_of(settings.detector.kind, settings.detector.file)
        if detector is not None and _has_vectors(detector):
            _detector(detector, settings)
    elif is_detector(file):
        _detector(file, settings)
    else:
        _classifier(settings.model_copy(update={"model": settings.model.model_copy(update={"file": file})}))
    return 0


def _has_vectors(detector: Path) -> bool:
    """Third-party detectors have none."""
    there = any(name.endswith(SUFFIX) for name in read_detector(detector).card.files)
    if not there:
        print(f"{detector}: its card lists no golden vectors; nothing to compare")
    return there


def _classifier(settings: Settings) -> None:
    engine = open_engine(settings)
    _compare(engine.model.path, engine.runtime, read_golden(engine.model), engine.classifier)


def _detector(file: Path, settings: Settings) -> None:
    part, threads = settings.detector, settings.model.threads
    chosen = Ssd(file, threads=threads, runtime=part.runtime, provider=part.provider).chosen
    answers = Outputs(chosen.runtime, chosen.model.card.input.range)
    _compare(chosen.model.path, chosen.runtime, read_golden(chosen.model), answers)


def _compare(path: Path, runtime: Runtime, golden: Golden, answers: Answers) -> None:
    found = deviations(golden, answers)
    differ = f"{path}: {runtime.name}: {len(found)} golden pictures, {what(golden)} differ "
    print(f"{differ}by at most {max(found):.4f}, {golden.tolerance:.4f} is allowed")
