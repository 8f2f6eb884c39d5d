#!/usr/bin/env bash
# Makes the files beside this one from pyproject.toml, at the versions of requirements.lock: all that the bare client
# and each image install, with hashes, for `pip install --require-hashes`. Needs uv.
#
#   requirements/compile.sh
#
# export.txt has none, and only what an exporter asks for itself: torch comes in several builds of one version, with
# hashes and requirements of their own.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() { # NAME SOURCE [OPTION...]
  local name=$1 source=$2
  shift 2
  uv pip compile "$source" --quiet --universal --python-version 3.11 --prerelease=allow --constraint requirements.lock \
    --no-annotate --no-header "$@" --output-file "requirements/$name.txt"
}

compile build       - --generate-hashes <<<setuptools # what makes the wheel
compile client      pyproject.toml --generate-hashes
compile encoder-cpu pyproject.toml --generate-hashes --extra otel --extra cpu
compile encoder-gpu pyproject.toml --generate-hashes --extra otel --extra gpu
compile gateway     pyproject.toml --generate-hashes --extra gateway
compile load        pyproject.toml --generate-hashes --extra load
compile search      pyproject.toml --generate-hashes --extra otel --extra search
compile starter     pyproject.toml --generate-hashes --extra cpu --extra starter
compile export      pyproject.toml --no-deps --extra cpu --extra export
