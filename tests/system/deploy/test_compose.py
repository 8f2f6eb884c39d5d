"""compose.yaml: valid by the compose specification, in accord with the code, and closed to other machines."""

from __future__ import annotations

import dataclasses
import re

import compose_spec
import pytest
import yaml

from clipsearch.serving.settings import environment_names
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests.load.settings import Settings
from tests.system.deploy.manifests import DEPLOY, IMAGES, environment

# Variables as compose puts them in when none is set.
TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text())
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]


def test_compose_takes_the_file():
    parsed = compose_spec.PyOptions(apply_merge=True).from_yaml(TEXT)
    parsed.validate()
    assert set(parsed.service_names()) == {
        "model",
        "encoder",
        "search",
        "qdrant",
        "prometheus",
        "grafana",
        "load",
    }


def test_the_validation_finds_a_misspelt_field():
    with pytest.raises(ValueError, match="imagee"):
        compose_spec.PyOptions(apply_merge=True).from_yaml("services: {a: {imagee: x}}").validate()


def test_settings_exist_and_are_valid_together(monkeypatch):
    for name, settings in (("encoder", EncoderSettings), ("search", SearchSettings)):
        variables = SERVICES[name]["environment"]
        assert variables.keys() <= set(environment_names(settings).values())
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        told = settings()
        grace = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
        assert grace >= told.drain_delay_s + told.drain_grace_s + 5
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{told.port}:{told.port}"]


def test_search_reaches_encoder_and_store_by_their_names():
    variables = SERVICES["search"]["environment"]
    assert variables["SEARCH_ENCODER"] == f"dns:///encoder:{EncoderSettings().port}"
    assert variables["QDRANT_URL"] == "http://qdrant:6333"


def test_nothing_is_published_beyond_this_machine():
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_services_have_no_rights_to_spare_and_a_limit_of_memory():
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service, name
        assert service.get("read_only") is (None if name == "qdrant" else True), name


def test_images_are_targets_of_the_dockerfile_or_pinned():
    for name, service in SERVICES.items():
        if "build" in service:
            target = service["build"]["target"]
            assert target in IMAGES
            assert service["image"] == f"clipsearch/{target}:0.1.0"
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


def test_the_load_harness_starts_only_when_asked_for():
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["load"]


def test_the_load_harness_knows_its_variables(built):
    known = {f"LOAD_{field.name.upper()}" for field in dataclasses.fields(Settings)}
    assert SERVICES["load"]["environment"].keys() <= known
    for pod in built("load").pods():
        named = {name for name in environment(pod.containers()[0]) if name.startswith("LOAD_")}
        assert named <= known
