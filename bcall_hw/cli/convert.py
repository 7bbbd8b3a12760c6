"""bcall-hw convert: sessions as tables for other programs, and tables of other programs as sessions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bcall_hw.cli import show
from bcall_hw.cli.record import summary
from bcall_hw.cli.shared import AsJson
from bcall_hw.errors import FileProblem


def convert(
    source: Annotated[Path, typer.Argument(help="A session (.h5), or a table of spikes (.csv, .npz).")],
    out: Annotated[Path, typer.Option(help="The result: .csv, .npz, or .h5 of a table; a new file.")],
    duration_s: Annotated[float | None, typer.Option(help="Length of each run (s), of a table that does not say it.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Take the place of a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Spikes to .csv or .npz, or back; registers and stimuli stay in the session's file."""
    from bcall_hw import files
    from bcall_hw.recording.session import Session
    from bcall_hw.recording.tables import ENDINGS, read_table, write_table
    from bcall_hw.recording.writer import SessionWriter

    if out.suffix not in (*ENDINGS, ".h5"):
        raise FileProblem("takes .csv, .npz or .h5", where="--out", used=out.suffix or "no ending")
    files.check_new(out, overwrite)
    is_table = source.suffix in ENDINGS
    if is_table == (out.suffix in ENDINGS) or (source.exists() and out.exists() and source.samefile(out)):
        raise FileProblem("converts a session to a table, or a table to a session", where="--out", used=str(out)[:200])
    session = read_table(source, duration_s) if is_table else Session.load(source)
    if is_table:
        with SessionWriter.replacing(out, session.made, None, session.populations) as writer:
            for run in session.runs:
                writer.add(run.recording, None, run.kind, run.complete)
            writer.close(session.complete)
    else:
        write_table(session, out)
    result = summary(session) | {"file": str(out)}
    if as_json:
        print(json.dumps(result))
        return
    show.figures("converted", result)
