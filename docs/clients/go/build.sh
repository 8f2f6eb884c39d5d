#!/usr/bin/env bash
# Makes a Go client of the protos in the folder given, and builds main.go with it. Needs Go, and protoc or
# grpcio-tools; PROTOC may say which.
# Usage: docs/clients/go/build.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
protos=$here/../../../protos
include=$(python3 -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
mkdir -p "$1" && cd "$1"
export GOBIN=$PWD/bin PATH="$PWD/bin:$PATH"
go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
cp "$here/main.go" .
mapfile -t files < <(cd "$protos" && find clipsearch -name '*.proto')
options=(--go_opt=module=example.com/shop --go-grpc_opt=module=example.com/shop)
for file in "${files[@]}"; do # where the code of each goes, which the protos do not say
  options+=("--go_opt=M$file=example.com/shop/${file%/*}" "--go-grpc_opt=M$file=example.com/shop/${file%/*}")
done
${PROTOC:-protoc} -I"$protos" -I"$include" --go_out=. --go-grpc_out=. "${options[@]}" "${files[@]}"
test -f go.mod || go mod init example.com/shop
go mod tidy
go build -o client .
