"""Both services with the variables, Secrets and probes of the `edge` overlay, as processes here."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from clipsearch import Client, ClientTls, ClipSearchError, Point
from tests.processes import SMALL_ENCODER, ServiceProcess
from tests.system.deploy.made_secrets import make_secrets
from tests.system.deploy.manifests import Manifests

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

pytestmark = pytest.mark.slow


@dataclass
class System:
    """The services' and their metrics' addresses, the callers' token, and the manifests that they run by."""

    manifests: Manifests
    addresses: dict[str, str]
    metrics: dict[str, str]
    token: str
    tls: ClientTls | None


def mount(pod, folder: Path, secrets: dict[str, dict[str, str]], bundle: Path) -> dict[str, str]:
    """Lays a pod's volumes out below `folder`; where each is mounted -> where it lies."""
    places = {}
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    for entry in pod.containers()[0]["volumeMounts"]:
        place = folder / pod.name / entry["name"]
        place.mkdir(parents=True)
        for key, content in secrets.get(
            volumes[entry["name"]].get("secret", {}).get("secretName"), {}
        ).items():
            (place / key).write_text(content)
        places[entry["mountPath"]] = str(bundle if entry["name"] == "models" else place)
    return places


def variables_of(pod, places: dict[str, str], secrets: dict[str, dict[str, str]]) -> dict[str, str]:
    """A container's variables, its paths as `mount` has laid them out."""
    found = {}
    for entry in pod.containers()[0]["env"]:
        if "valueFrom" in entry:
            reference = entry["valueFrom"]["secretKeyRef"]
            found[entry["name"]] = secrets[reference["name"]][reference["key"]]
            continue
        value = entry["value"]
        for path, place in places.items():
            value = value.replace(path, place) if value.startswith(path) else value
        found[entry["name"]] = value
    return found


@pytest.fixture(scope="module", params=["plain", "tls"])
def deployed(request, built, starter_bundle, tmp_path_factory) -> Iterator[System]:
    manifests = built("edge" if request.param == "plain" else "edge+tls")
    folder = tmp_path_factory.mktemp("deployed")
    made = make_secrets()
    secrets = dict(made.content)
    authority = trustme.CA()
    # As deploy/README.md asks of the certificates; 127.0.0.1 is this machine's part.
    issued = authority.issue_cert("encoder", "search", "127.0.0.1")
    certificate = {
        "ca.crt": authority.cert_pem.bytes().decode(),
        "tls.crt": issued.cert_chain_pems[0].bytes().decode(),
        "tls.key": issued.private_key_pem.bytes().decode(),
    }
    secrets |= {"encoder-tls": certificate, "search-tls": certificate}
    variables: dict[str, dict[str, str]] = {}
    for name in ("encoder", "search"):
        pod = manifests.pod(name)
        places = mount(pod, folder, secrets, starter_bundle)
        # Not to other machines, and on ports that are free.
        here = {"HOST": "127.0.0.1", "METRICS_PORT": "0", "DRAIN_DELAY_S": "0", "LOG_FORMAT": "json"}
        variables[name] = {
            **variables_of(pod, places, secrets),
            **{f"{name.upper()}_{setting}": value for setting, value in here.items()},
        }
    with ServiceProcess("encoder", folder, **(SMALL_ENCODER | variables["encoder"])) as encoder:
        variables["search"]["SEARCH_ENCODER"] = encoder.address
        with ServiceProcess("search", folder, **variables["search"]) as search:
            addresses = {"encoder": encoder.address, "search": search.address}
            metrics = {"encoder": encoder.metrics_address(), "search": search.metrics_address()}
            ca = variables["search"].get("SEARCH_ENCODER_TLS_CA")
            tls = ClientTls(ca=Path(ca)) if ca else None
            assert (tls is not None) == (request.param == "tls")
            yield System(manifests, addresses, metrics, made.token, tls)


def test_a_caller_with_the_token_that_was_told_writes_and_finds(deployed):
    with Client(deployed.addresses["search"], token=deployed.token, tls=deployed.tls) as client:
        client.create_collection("shop")
        client.upsert("shop", [Point("mug", text="a red coffee mug"), Point("bike", text="a motorcycle")])
        assert [hit.id for hit in client.search("shop", "something to drink from", limit=1)] == ["mug"]


def test_a_caller_without_it_is_refused(deployed):
    with (
        Client(deployed.addresses["search"], tls=deployed.tls) as client,
        pytest.raises(ClipSearchError, match="Bearer TOKEN"),
    ):
        client.count("shop")


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("name", ["encoder", "search"])
def test_the_probes_find_a_service_that_works(deployed, name, probe):
    told = deployed.manifests.container(name)[probe]["httpGet"]
    with urllib.request.urlopen(f"http://{deployed.metrics[name]}{told['path']}", timeout=60) as answer:
        assert (answer.status, answer.read()) == (200, b"SERVING\n")
