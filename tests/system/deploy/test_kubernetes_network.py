"""NetworkPolicies: every pod is closed, and what is open is the design's arrows, names and scrapes."""

from __future__ import annotations

import pytest

from tests.system.deploy.manifests import selects

DNS = {(53, "UDP"), (53, "TCP")}
QDRANT = {("search", "qdrant", 6334), ("qdrant", "qdrant", 6335)}
ARROWS = {
    "cpu": {("search", "encoder", 50051)},
    "cpu+qdrant": {("search", "encoder", 50051), *QDRANT},
    "gpu+qdrant": {("search", "encoder", 50051), *QDRANT},
    "edge": {("search", "encoder", 50051)},
    "edge+second-encoder": {("search", "encoder", 50051), ("search", "encoder-next", 50051)},
    "local": {("search", "encoder", 50051)},
    "edge+gateway": {
        ("search", "encoder", 50051),
        ("gateway", "encoder", 50051),
        ("gateway", "search", 50052),
    },
    "load": {("load", "load", 5557)},
}
CLIENTS = {"search": {50052}}
every_build = pytest.mark.parametrize("overlay", ARROWS)


def policies(manifests, pod):
    return [
        found["spec"]
        for found in manifests.kind("NetworkPolicy")
        if selects(found["spec"]["podSelector"], pod.labels)
    ]


def name(pod):
    return pod.labels["app.kubernetes.io/name"]


def matched(peer, manifests):
    """The pods of the same namespace that a rule's peer means."""
    if "namespaceSelector" in peer:
        return set()
    return {name(pod) for pod in manifests.pods() if selects(peer["podSelector"], pod.labels)}


@every_build
def test_every_pod_is_closed_both_ways(built, overlay):
    for pod in built(overlay).pods():
        types = {direction for policy in policies(built(overlay), pod) for direction in policy["policyTypes"]}
        assert types == {"Ingress", "Egress"}, pod.name


@every_build
def test_every_pod_may_ask_for_names(built, overlay):
    for pod in built(overlay).pods():
        allowed = {
            (port["port"], port["protocol"])
            for policy in policies(built(overlay), pod)
            for rule in policy.get("egress", [])
            if "to" not in rule  # whoever answers: a pod, the node, or a resolver outside
            for port in rule["ports"]
        }
        assert allowed == DNS, pod.name


@every_build
def test_arrows_are_those_of_the_design_and_open_at_both_ends(built, overlay):
    manifests = built(overlay)
    leaving, entering = set(), set()
    for pod in manifests.pods():
        for policy in policies(manifests, pod):
            for rule in policy.get("egress", []):
                for port in rule["ports"]:
                    leaving |= {
                        (name(pod), other, port["port"])
                        for to in rule.get("to", [])
                        for other in matched(to, manifests)
                    }
            for rule in policy.get("ingress", []):
                for port in rule["ports"]:
                    entering |= {
                        (other, name(pod), port["port"])
                        for peer in rule["from"]
                        for other in matched(peer, manifests)
                    }
    assert leaving == entering == ARROWS[overlay]


@pytest.mark.parametrize("overlay", [name for name in ARROWS if name != "load"])
def test_from_other_namespaces_come_clients_and_prometheus_and_nobody_else(built, overlay):
    manifests = built(overlay)
    clients: dict[str, set[int]] = {}
    scrapes: dict[str, set[int]] = {}
    for pod in manifests.pods():
        for policy in policies(manifests, pod):
            for rule in policy.get("ingress", []):
                ports = {port["port"] for port in rule["ports"]}
                for peer in rule["from"]:
                    if peer.get("namespaceSelector") == {}:
                        assert peer["podSelector"] == {"matchLabels": {"clipsearch-client": "true"}}
                        clients.setdefault(name(pod), set()).update(ports)
                    elif "namespaceSelector" in peer:
                        assert peer["namespaceSelector"] == {
                            "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                        }
                        scrapes.setdefault(name(pod), set()).update(ports)
    assert clients == CLIENTS | ({"gateway": {8000}} if "gateway" in overlay else {})
    scraped = {name(pod): {9100} for pod in manifests.pods()}
    assert scrapes == scraped | ({"qdrant": {6333}} if "qdrant" in scraped else {})
