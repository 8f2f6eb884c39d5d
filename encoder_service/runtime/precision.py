"""Which of a bundle's graphs runs: the one asked for, or the bundle's own choice for the hardware."""

from __future__ import annotations

from encoder_service.bundle import BundleError, Manifest, Precision, Tower
from encoder_service.runtime.providers import ProviderName


def choose_precision(
    manifest: Manifest, tower: Tower, asked: str, provider: ProviderName = "cpu"
) -> tuple[Precision, str]:
    """The precision to run and why. Raises BundleError if the bundle has no such graph."""
    there = manifest.precisions[tower]
    if asked != "auto":
        for precision in there:
            if precision == asked and (precision != "int8" or provider == "cpu"):
                return precision, "asked for"
        if asked in there:
            raise BundleError(f"{asked} was asked for in the {tower} tower, which runs on CPUs only")
        raise BundleError(f"the bundle has no {asked} graph of the {tower} tower; it has {', '.join(there)}")
    if provider != "cpu":
        return _gpu_precision(manifest, tower)
    chosen = manifest.preferred_cpu[tower]
    if chosen == "fp32" and "int8" in there and (failed := _failed(manifest, tower, "int8")):
        return chosen, f"int8 did not pass: {failed}"
    return chosen, "the bundle's choice for CPUs"


def _gpu_precision(manifest: Manifest, tower: Tower) -> tuple[Precision, str]:
    there = manifest.precisions[tower]
    chosen = manifest.preferred_gpu.get(tower, "fp32")
    if chosen not in there:
        raise BundleError(
            f"the bundle has no graph of the {tower} tower for a GPU, fp16 or fp32; it has {', '.join(there)}"
        )
    if chosen == "fp32" and "fp16" in there and (failed := _failed(manifest, tower, "fp16")):
        return chosen, f"fp16 did not pass: {failed}"
    if chosen == "fp32" and "fp16" not in there:
        return (
            chosen,
            "the bundle has no fp16 graph; `clipsearch model export --precision fp32,int8,fp16` makes one",
        )
    return chosen, "the bundle's choice for GPUs"


def _failed(manifest: Manifest, tower: Tower, precision: Precision) -> str:
    """The checks that a precision did not pass, in words."""
    return ", ".join(
        f"{check.name} {check.value:.4f}, bound {check.bound}"
        for check in manifest.parity
        if check.tower == tower and not check.passed and check.name.startswith(f"{precision} ")
    )
