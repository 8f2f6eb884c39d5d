#!/usr/bin/env bash
# Builds images for amd64 and arm64 and pushes them, with their provenance and a list of what they hold (SBOM):
#
#   REGISTRY=registry.example.com/clipsearch deploy/docker/release.sh [TARGET...]
#
# TARGET is one of docker-bake.json; without any, all. The bases are named by the digests of today, and equal sources
# give equal layers. Needs a builder that can do both (`docker buildx create --use`) and runs the other architecture
# (QEMU), or has a node of each. encoder-gpu is for amd64 only: ONNX Runtime for CUDA has no wheel for arm64.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/../.."
: "${REGISTRY:?says where the images go, as in registry.example.com/clipsearch}"

base() { # the Dockerfile's default of an argument, by digest
  local image digest
  image=$(sed -n "s/^ARG $1=//p" deploy/docker/Dockerfile)
  digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
  echo "$image@$digest"
}

PYTHON_IMAGE=${PYTHON_IMAGE:-$(base PYTHON_IMAGE)}
BUSYBOX_IMAGE=${BUSYBOX_IMAGE:-$(base BUSYBOX_IMAGE)}
REVISION=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export REGISTRY PYTHON_IMAGE BUSYBOX_IMAGE REVISION SOURCE_DATE_EPOCH
docker buildx bake -f deploy/docker/docker-bake.json -f deploy/docker/release.json "${@:-all}"
