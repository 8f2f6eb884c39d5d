"""`make models-check`: all architectures of OpenCLIP's list, and families of transformers, random weights.

Each is exported and compared with its own library, in a process of its own, one at a time. What is
done is written line by line to build/models-check.jsonl and not done again; build/models-check.json is the
whole, and `--table` prints it for the documentation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

OUT = Path("build")
LINES, WHOLE = OUT / "models-check.jsonl", OUT / "models-check.json"
BOUND = 0.9999
TIMEOUT_S = 1800


def main() -> None:
    """Checks what is not checked yet."""
    parser = argparse.ArgumentParser(prog="make models-check", description=__doc__)
    parser.add_argument("--table", action="store_true", help="print the table of what was checked, and stop")
    parser.add_argument(
        "--whole", type=float, default=1000, metavar="MILLIONS", help="more weights than this: fewer layers"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="names that hold this")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(read()))
        return
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # Before any library of theirs is imported: they read it once.
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(Path(folder, "hub"))}
        run(Path(folder), arguments.whole, arguments.only)
    WHOLE.write_text(json.dumps(read(), indent=1) + "\n")


def run(folder: Path, whole: float, only: str) -> None:
    """Each in turn, in a fork of this process, which has loaded already what all of them need."""
    import torch

    from tests.models import check, hub_cache, kinds

    # Beside busy neighbours, threads that wait for one another take longer; and a fork has none of them.
    torch.set_num_threads(1)
    hub_cache.fill(folder / "hub")
    check.photographs()
    warm_up(folder)
    done = {row["name"]: row for row in read()}
    for name, library in kinds.names().items():
        row = done.get(name, {})
        if only not in name or row.get("layers") == "all" or row.get("whole", -1) >= whole:
            continue
        row = {"name": name, "library": library, "whole": whole, **in_a_fork(name, whole, folder)}
        with LINES.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def warm_up(folder: Path) -> None:
    """Lets torch's exporter import what it only imports when it is used."""
    import torch

    from encoder_service.export.graphs.towers import export_image

    export_image(torch.nn.Flatten(), 2, folder / "any.onnx")


def in_a_fork(name: str, whole: float, folder: Path) -> dict[str, Any]:
    """What the check gives, or why it does not."""
    start = time.monotonic()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, whole, folder, sender))
    process.start()
    sender.close()
    answer: dict[str, Any]
    if not receiver.poll(TIMEOUT_S):
        answer = {"error": f"not done after {TIMEOUT_S} s"}
        process.kill()
    else:
        try:
            answer = receiver.recv()
        except EOFError:
            answer = {"error": "the process was killed: out of memory, most likely"}
    process.join()
    return {**answer, "seconds": round(time.monotonic() - start, 1)}


def _child(name: str, whole: float, folder: Path, sender: Any) -> None:
    import torch

    from encoder_service.export import ExportError
    from tests.models.check import check
    from tests.models.kinds import make

    torch.set_num_threads(1)  # beside busy neighbours, threads that wait for one another take longer
    try:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            made = make(name, whole)
            checked = check(made.encoder, Path(place))
        passed = min(checked.image, checked.text) >= BOUND
        sender.send({"millions": made.millions, "layers": made.layers, **asdict(checked), "passed": passed})
    except ExportError as error:
        sender.send({"error": str(error)})
    except Exception as error:
        sender.send({"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()[-2000:]})


def read() -> list[dict[str, Any]]:
    """What was checked, the last of each name, one of all layers before others."""
    rows: dict[str, dict[str, Any]] = {}
    for line in LINES.read_text().splitlines() if LINES.is_file() else []:
        row = json.loads(line)
        if rows.get(row["name"], {}).get("layers") != "all" or row.get("layers") == "all":
            rows[row["name"]] = row
    return sorted(rows.values(), key=lambda row: (row["library"], row["name"].lower()))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| model | weights, millions | layers | image | text | texts padded to |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['name']} | | | failed: {row['error']} | | |")
            continue
        to = {"longest": "longest", "max_length": "whole context"}[row["padding"]]
        figures = f"{row['image']:.6f} | {row['text']:.6f}"
        lines.append(f"| {row['name']} | {row['millions']:.0f} | {row['layers']} | {figures} | {to} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
