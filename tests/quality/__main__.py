"""Measures what searches find: `make quality`, about 4 minutes on two cores.

Real services over Qdrant Edge, a set of captioned images, six cases of what is stored and what is asked.
The default search must find what the better of its sides finds, so must a search by words and meaning, and
a search for matches alone on the demo's photographs what is shown there; the exit status is 1 where they do
not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from pathlib import Path

from rich.console import Console

from clipsearch import AsyncClient, Client, EncoderClient
from clipsearch.downloads.wheels import WheelError
from tests.bench.bundles import ROOT, STARTER
from tests.bench.rig import Rig
from tests.quality import hybrid, matches, report
from tests.quality.captioned import Captioned, folder, openmoji
from tests.quality.cases import Plan
from tests.quality.measure import Encoded, ask, fill

OUT = ROOT / "build" / "quality.json"
WORK = ROOT / "build" / "quality"


def main() -> int:
    """Measures, writes OUT, prints the tables; 1 if a bound is broken."""
    parser = argparse.ArgumentParser(prog="tests.quality", description=__doc__)
    parser.add_argument("--model", type=Path, default=STARTER, help="a bundle's folder")
    parser.add_argument(
        "--images", type=Path, help="a folder of images with captions, NAME.txt beside NAME.jpg"
    )
    args = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 180)
    try:
        images = folder(args.images) if args.images else openmoji(None, console.print)
    except (WheelError, ValueError) as error:
        console.print(f"quality: {error}", markup=False)
        return 1
    shutil.rmtree(WORK, ignore_errors=True)
    with Rig(WORK, console) as rig:
        document = measure(rig, console, args.model, images, args.images or "OpenMoji 17.0.0")
    shutil.rmtree(WORK, ignore_errors=True)
    OUT.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"written: {OUT}")
    return 0 if document["met"] else 1


def measure(
    rig: Rig, console: Console, model: Path, images: list[Captioned], source: object
) -> dict[str, object]:
    """Serves the model, measures, prints; what OUT holds."""
    encoder = rig.start_service("encoder", "encoder", ENCODER_MODEL=str(model))
    search = rig.start_service(
        "search", "search", SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=str(WORK / "collections")
    )
    with (
        EncoderClient(encoder.address, timeout=120) as encoding,
        Client(search.address, timeout=120) as client,
    ):
        rig.say(f"{len(images)} images of {source}, their captions, both in another form: encoding")
        encoded, plan = Encoded(images, encoding), Plan(images)
        for collection in plan.collections:
            fill(client, encoded, collection)
        numbers = hybrid.fill(client, encoded)
        rows, both = asyncio.run(_asked(rig, search.address, encoded, plan, numbers))
        alone = matches.ask(client)
        about = {"set": str(source), "images": len(images), "model": encoding.model().name}
    console.print(report.markdown(rows), markup=False, highlight=False, soft_wrap=True)
    for told in (alone.told(), both.markdown()):
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    document = report.document(about, rows)
    met = document["met"] and alone.met() and not both.broken()
    return {**document, "only_matches": alone.document(), "hybrid": both.document(), "met": met}


async def _asked(
    rig: Rig, search: str, encoded: Encoded, plan: Plan, numbers: list[str]
) -> tuple[list[report.Row], hybrid.Hybrid]:
    rows = []
    async with AsyncClient(search, timeout=120) as client:
        for case in plan.cases:
            rows.append(report.Row(case, await ask(client, encoded, case)))
            rig.say(case.name)
        return rows, await hybrid.ask(client, encoded, numbers)


if __name__ == "__main__":
    sys.exit(main())
