"""compose.yaml: valid by the compose specification, in accord with the code, and closed to other machines."""

from __future__ import annotations

import dataclasses
import re

import compose_spec
import yaml

from clipsearch.serving.settings import load_settings
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests.load.settings import Settings
from tests.system.deploy.manifests import DEPLOY, IMAGES, REGISTRY, environment

# Variables as compose puts them in when none is set.
TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text())
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def test_compose_takes_the_file():
    parsed = compose_spec.PyOptions(apply_merge=True).from_yaml(TEXT)
    parsed.validate()


def test_settings_exist_and_are_valid_together(monkeypatch):
    for name, settings in (("encoder", EncoderSettings), ("search", SearchSettings)):
        for variable, value in SERVICES[name]["environment"].items():
            monkeypatch.setenv(variable, value)
        told = load_settings(settings)
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace >= told.drain_delay_s + told.drain_grace_s + 5
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{told.port}:{told.port}"]


def test_services_have_no_rights_to_spare_a_limit_of_memory_and_no_port_beyond_this_machine():
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service, name
        assert service.get("read_only") is (None if name == "qdrant" else True), name


def test_images_are_targets_of_the_dockerfile_or_pinned():
    for name, service in SERVICES.items():
        if "build" in service:
            target = service["build"]["target"]
            assert target in IMAGES
            made_here = None if target == "model" else f"{REGISTRY}/{target}:0.1.0"
            assert service.get("image") == made_here
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_mounted_files_exist_and_named_volumes_are_declared():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).exists(), source
            elif not source.startswith("../build"):
                assert source in COMPOSE["volumes"], source


def test_grafana_finds_dashboards_and_prometheus():
    mounts = dict(volume.split(":")[:2][::-1] for volume in SERVICES["grafana"]["volumes"])
    (provider,) = yaml.safe_load((DEPLOY / "monitoring/grafana/dashboards.yaml").read_text())["providers"]
    (source,) = yaml.safe_load((DEPLOY / "monitoring/grafana/datasources.yaml").read_text())["datasources"]
    assert mounts[provider["options"]["path"]] == "./monitoring/dashboards"
    assert source["url"] == "http://prometheus:9090"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "monitoring" / home.removeprefix("/")).is_file()


def test_the_load_harness_knows_its_variables(built):
    known = {f"LOAD_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    assert SERVICES["load"]["environment"].keys() <= known
    for pod in built("load").pods():
        named = {name for name in environment(pod.containers()[0]) if name.startswith("LOAD_")}
        assert named <= known
