#!/usr/bin/env bash
# Makes a TypeScript client of the protos in the folder given, and compiles index.ts with it to out/index.js. Needs
# Node, and protoc or grpcio-tools; PROTOC may say which.
# Usage: docs/clients/typescript/build.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
protos=$here/../../../protos
include=$(python3 -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
mkdir -p "$1/gen" && cd "$1"
echo '{"private": true, "type": "module"}' > package.json
npm install --no-audit --no-fund --ignore-scripts \
  @bufbuild/protobuf@2 @bufbuild/protoc-gen-es@2 @connectrpc/connect@2 @connectrpc/connect-node@2 typescript@7
cp "$here/index.ts" .
mapfile -t files < <(cd "$protos" && find clipsearch -name '*.proto')
PATH="$PWD/node_modules/.bin:$PATH" ${PROTOC:-protoc} -I"$protos" -I"$include" \
  --es_out=gen --es_opt=target=ts,import_extension=js \
  "${files[@]}" google/api/annotations.proto google/api/http.proto google/rpc/status.proto
npx tsc --module nodenext --target es2022 --skipLibCheck --outDir out index.ts
