#!/usr/bin/env bash
# Generates the Python API from protos/ into the folder given (default: the checkout itself).
# Usage: protos/generate.sh [PYTHON] [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
out=${2:-.}
include=$("$python" -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
mapfile -t protos < <(find protos/clipsearch -name '*.proto' | sort)
PATH="$(cd "$(dirname "$python")" && pwd):$PATH" \
  "$python" -m grpc_tools.protoc -Iprotos -I"$include" \
  --python_out="$out" --mypy_out=quiet:"$out" --grpc_python_out="$out" --mypy_grpc_out=quiet:"$out" "${protos[@]}"
