#!/usr/bin/env bash
# Lints the protos with buf's STANDARD and COMMENTS rules. Usage: protos/lint.sh [PYTHON]
#
# buf is handed a compiled image, because google/rpc/status.proto comes from a Python package and
# not from buf's own registry.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
include=$("$python" -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
image=$(mktemp --suffix=.binpb)
trap 'rm -f "$image"' EXIT
mapfile -t protos < <(find protos/clipsearch -name '*.proto' | sort)
"$python" -m grpc_tools.protoc -Iprotos -I"$include" \
  --include_imports --include_source_info --descriptor_set_out="$image" "${protos[@]}"
"$(dirname "$python")/buf" lint "$image" \
  --config '{"version": "v2", "lint": {"use": ["STANDARD", "COMMENTS"], "ignore": ["google"]}}'
