#!/usr/bin/env bash
# Prints the Secrets that the manifests refer to, with new tokens and keys, as YAML:
#
#   deploy/kubernetes/secrets.sh | kubectl apply -f -
#
# The token for callers of the search service (search, write, admin) goes to stderr, once. Run again, all of
# them are new: to add one caller, see "Tokens" in deploy/README.md.
# Needs `kubectl` and `clipsearch` (pip install '.[serving]'), or what KUBECTL and CLIPSEARCH name.
set -euo pipefail
kubectl=${KUBECTL:-kubectl} clipsearch=${CLIPSEARCH:-clipsearch} namespace=${NAMESPACE:-clipsearch}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
umask 077

secret() { # NAME FILE...
  local name=$1 file from=()
  shift
  for file in "$@"; do from+=(--from-file="$folder/$name/$file"); done
  echo "---"
  "$kubectl" create secret generic "$name" --namespace "$namespace" "${from[@]}" --dry-run=client -o yaml
}

random() { # 32 bytes, as text
  head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

mkdir "$folder"/{encoder-tokens,search-encoder-token,search-tokens,qdrant-api-keys}

"$clipsearch" token create --name search --scope encode \
  >"$folder/encoder-tokens/tokens" 2>"$folder/shown"
sed -n 's/^token of search .*: //p' "$folder/shown" | tr -d '\n' >"$folder/search-encoder-token/token"
[ -s "$folder/search-encoder-token/token" ] || { cat "$folder/shown" >&2; exit 1; }

"$clipsearch" token create --name callers --scope search --scope write --scope admin \
  >"$folder/search-tokens/tokens"

random >"$folder/qdrant-api-keys/api-key"
random >"$folder/qdrant-api-keys/read-only-api-key"

secret encoder-tokens tokens
secret search-encoder-token token
secret search-tokens tokens
secret qdrant-api-keys api-key read-only-api-key
