"""The Dockerfile, without an engine: linted, every source there, users, versions, entry points."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from clipsearch.serving.health import Readiness
from clipsearch.serving.http_port import http_port
from clipsearch.serving.service import Service
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests.system.deploy.manifests import DEPLOY, IMAGES, REGISTRY, ROOT

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, with continued lines joined and comments gone."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Stage -> its instructions, those of the stages that it is made from first."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, rest in instructions():
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = [*found.get(base, []), (word, base)]
        elif name:
            found[name].append((word, rest))
    return found


def last(stage: str, word: str) -> str:
    return [rest for instruction, rest in stages()[stage] if instruction == word][-1]


def test_hadolint_has_nothing_to_say():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_target_is_a_stage_and_is_baked():
    bake = json.loads((DEPLOY / "docker" / "docker-bake.json").read_text())
    baked = {entry["target"] for name, entry in bake["target"].items() if not name.startswith("_")}
    assert baked == IMAGES <= stages().keys()
    assert set(bake["group"]["all"]["targets"]) == IMAGES
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "images.yaml").read_text())
    assert set(workflow["jobs"]["push"]["strategy"]["matrix"]["target"]) == IMAGES
    assert set(bake["group"]["default"]["targets"]) < IMAGES
    for name in IMAGES - {"model"}:
        assert bake["target"][name]["tags"] == [f"${{REGISTRY}}/{name}:${{VERSION}}"]
    assert bake["variable"]["REGISTRY"]["default"] == REGISTRY


def test_what_bake_passes_are_arguments_with_the_same_defaults():
    bake = json.loads((DEPLOY / "docker" / "docker-bake.json").read_text())
    arguments = dict(rest.split("=") for word, rest in instructions() if word == "ARG")
    passed = {name for entry in bake["target"].values() for name in entry.get("args", {})}
    assert passed == arguments.keys()
    for name, default in arguments.items():
        assert bake["variable"][name]["default"] == default


def test_a_release_changes_images_that_there_are_and_names_bases_by_digest(tmp_path):
    release = json.loads((DEPLOY / "docker" / "release.json").read_text())
    bake = json.loads((DEPLOY / "docker" / "docker-bake.json").read_text())
    assert release["target"].keys() <= bake["target"].keys()
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/sh\ncase "$*" in *imagetools*) echo sha256:0123 ;; *) echo "$*"; env | grep _IMAGE= ;; esac\n'
    )
    docker.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    script = [DEPLOY / "docker" / "release.sh", "search"]
    refused = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    assert (refused.returncode, "REGISTRY" in refused.stderr) == (1, True)
    environment["REGISTRY"] = "registry.example.com/clipsearch"
    done = subprocess.run(script, capture_output=True, text=True, check=True, env=environment)
    command, *bases = done.stdout.splitlines()
    assert command.endswith("-f deploy/docker/release.json search")
    for name in ("PYTHON_IMAGE", "BUSYBOX_IMAGE"):
        assert f"{name}={bake['variable'][name]['default']}@sha256:0123" in bases


def test_the_version_is_the_projects():
    versions = [rest for word, rest in instructions() if word == "ARG" and rest.startswith("VERSION=")]
    assert set(versions) == {f"VERSION={PROJECT['version']}"}


def test_every_source_of_a_copy_exists_and_is_sent_to_the_builder():
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    for word, rest in instructions():
        if word != "COPY" or "--from=" in rest:
            continue
        *sources, _ = [part for part in rest.split() if not part.startswith("--")]
        for source in sources:
            assert (ROOT / source).exists(), f"COPY {source}"
            assert any(fnmatch.fnmatch(source, pattern) for pattern in sent), f"{source} is ignored"


def test_every_stage_that_is_copied_from_exists():
    for word, rest in instructions():
        for stage in re.findall(r"(?:--from=|,from=)([\w-]+)", rest):
            assert stage in stages(), f"{word} {rest}"


@pytest.mark.parametrize("target", sorted(IMAGES))
def test_images_run_as_nobody_and_have_a_health_check(target):
    assert last(target, "USER") == "65532:65532"
    assert any(word == "HEALTHCHECK" for word, _ in stages()[target])


@pytest.mark.parametrize(
    ("target", "prefix", "settings"),
    [
        ("encoder-cpu", "ENCODER_", EncoderSettings),
        ("encoder-gpu", "ENCODER_", EncoderSettings),
        ("search", "SEARCH_", SearchSettings),
    ],
)
def test_a_services_image_agrees_with_its_settings(target, prefix, settings, monkeypatch):
    for word, rest in stages()[target]:
        if word == "ENV":
            for name, value in re.findall(rf"({prefix}\w+)=(\S+)", rest):
                monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="can be reached from other machines"):
        settings()  # an image that listens to everybody has to be told so
    monkeypatch.setenv(f"{prefix}INSECURE", "true")
    told = settings()
    assert getattr(told, "provider", None) == {"encoder-cpu": "auto", "encoder-gpu": "cuda"}.get(target)
    assert last(target, "EXPOSE") == f"{told.port} {told.metrics_port}"
    assert f"'127.0.0.1', {told.metrics_port}" in last(target, "HEALTHCHECK")


def test_entry_points_run():
    words = set()
    for target in IMAGES - {"model", "load"}:
        words.add((*json.loads(last(target, "ENTRYPOINT")), *json.loads(last(target, "CMD")), "--help"))
    for program, *arguments in words:
        command = [Path(sys.executable).with_name(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", sorted(IMAGES - {"model", "load", "gateway"}))
async def test_health_checks_tell_whether_a_service_is_ready(target):
    program, option, script = json.loads(re.search(r"CMD (\[.*\])", last(target, "HEALTHCHECK")).group(1))
    up = [True]

    async def ready() -> None:
        if not up[0]:
            raise RuntimeError("away")

    readiness = Readiness()
    name = "clipsearch.search.v1.CollectionService"
    await readiness.begin([Service(name, lambda server: None, ready)])
    with http_port("127.0.0.1", 0, CollectorRegistry(), readiness) as address:
        assert script.count("9100") == 1
        script = script.replace("9100", address.rpartition(":")[2])
        for up[0] in (False, True):
            await readiness.check()
            check = await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name(program), option, script
            )
            assert (await check.wait() == 0) is up[0]
