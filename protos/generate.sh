#!/usr/bin/env bash
# Generates the Python API and the gateway's OpenAPI document from protos/ into the folder given (default: the
# checkout itself).
# Usage: protos/generate.sh [PYTHON] [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=${2:-.}
include=$("$python" -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=$(mktemp --suffix=.binpb)
trap 'rm -f "$image"' EXIT
mapfile -t protos < <(find protos/clipsearch -name '*.proto' | sort)
PATH="$(cd "$(dirname "$python")" && pwd):$PATH" \
  "$python" -m grpc_tools.protoc -Iprotos -I"$include" \
  --include_imports --include_source_info --descriptor_set_out="$image" \
  --python_out="$out" --mypy_out=quiet:"$out" --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" "${protos[@]}"
mkdir -p "$out/clipsearch/gateway"
"$python" protos/openapi.py "$image" "$version" > "$out/clipsearch/gateway/openapi.json"
