"""Loads the services and reports: knees, a page, figures, and a profile for `clipsearch plan`."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from clipsearch import Client, ClipSearchError, EncoderClient
from clipsearch.channel.credentials import CredentialsError
from clipsearch.cli.shared.access import access
from clipsearch.cli.shared.processes import exit_on_sigterm
from tests.bench.machine import OtherProcesses
from tests.load import calibrate, report
from tests.load.collection import collection
from tests.load.outcome import Outcome
from tests.load.recording import Recording
from tests.load.settings import Settings, SettingsError, read
from tests.load.system import System, system

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
# What is left of the run's time after the load: Locust's end, the simulation, the report.
_AFTERWARDS_S = 10.0
# However long a slow machine took until here: Locust's start, two seconds of a closed loop, three rates.
_LEAST_LOAD_S = 24.0


def main() -> None:
    """The command."""
    try:
        settings, for_locust = read()
        if "--worker" in for_locust:
            sys.exit(_locust(settings, for_locust, {}))
        with exit_on_sigterm():
            _run(settings, for_locust)
    except KeyboardInterrupt:
        sys.exit(130)
    except (SettingsError, ClipSearchError, CredentialsError, ValueError) as error:
        sys.exit(f"error: {error}")


def _run(settings: Settings, for_locust: list[str]) -> None:
    begun, by_hand = time.time(), "--ui" in for_locust
    settings.out.mkdir(parents=True, exist_ok=True)
    others = OtherProcesses()  # before the services: their time counts as ours once they have ended
    with (
        tempfile.TemporaryDirectory(prefix="clipsearch-load-") as scratch,
        system(settings, Path(scratch)) as under_load,
        Client(under_load.settings.search, **access()) as client,
    ):
        _say(begun, f"filling a collection with {settings.points} points")
        with collection(client, under_load.settings) as filled:
            _say(begun, f"{filled.indexed_share:.0%} of the vectors are indexed")
            if by_hand:
                arguments = [argument for argument in for_locust if argument != "--ui"]
                print("a user of Locust's web page is one call a second; Ctrl-C ends it", flush=True)
                sys.exit(
                    _locust(
                        under_load.settings,
                        ["--class-picker", "--web-host", "127.0.0.1", *arguments],
                        {"LOAD_BY_HAND": "1"},
                    )
                )
            recall, costs = _alone(client, under_load)
            _say(begun, f"recall@10 {recall.recall_at_10:.3f}; now the load")
            end = max(begun + settings.seconds - _AFTERWARDS_S, time.time() + _LEAST_LOAD_S)
            recording = _load(under_load, for_locust, end)
            outcome = Outcome.make(under_load, recording, recall, costs, filled)
    if under_load.pids:
        outcome = dataclasses.replace(outcome, other_cores=others.cores())
    report.write(outcome, settings.out)
    report.show(outcome, settings.out)
    _say(begun, "done")


def _alone(client: Client, under_load: System) -> tuple[calibrate.Recall, calibrate.Costs | None]:
    """What one client sees before anybody else comes."""
    recall, store_ms = calibrate.recall(client, under_load.settings.collection)
    if not under_load.pids:
        return recall, None
    with EncoderClient(under_load.settings.encoder) as encoder:
        return recall, calibrate.costs(encoder, under_load.pids, store_ms)


def _load(under_load: System, for_locust: list[str], end: float) -> Recording:
    out = under_load.settings.out
    path = out / "recording.json"
    path.unlink(missing_ok=True)
    arguments = ["--headless", "--only-summary", "--exit-code-on-error", "0"]
    arguments += ["--html", str(out / "locust.html"), "--csv", str(out / "locust")]
    code = _locust(
        under_load.settings,
        [*arguments, *for_locust],
        {"LOAD_END": str(end), "LOAD_PIDS": json.dumps(under_load.pids)},
        out / "locust.log",
    )
    if code or not path.exists():
        tail = "\n".join((out / "locust.log").read_text(errors="replace").splitlines()[-15:])
        raise SettingsError(f"Locust ended with {code}; the end of {out / 'locust.log'}:\n{tail}")
    recording = Recording.load(path)
    if not recording.steps:
        raise SettingsError("seconds: no time was left for a load; give it more")
    return recording


def _locust(settings: Settings, arguments: list[str], more: dict[str, str], log: Path | None = None) -> int:
    """Runs Locust to its end, its output into `log` or where ours goes."""
    command = [sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), *arguments]
    # The services' own variables are nothing to Locust; its own start with LOCUST_.
    environment = {**os.environ, **settings.environment(), **more}
    with log.open("wb") if log else nullcontext() as output:
        return subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode


def _say(begun: float, text: str) -> None:
    print(f"{time.time() - begun:5.0f} s  {text}", flush=True)


if __name__ == "__main__":
    main()
