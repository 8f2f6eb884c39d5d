#!/usr/bin/env bash
# Tries the overlay `local` on kind, with images built here: indexes photographs, searches, kills the pod of the search
# service, and searches again. Not run yet.
#
#   deploy/kind.sh
#   kind delete cluster --name clipsearch
#
# Needs docker with buildx, kind, kubectl, and `clipsearch` (pip install '.[serving]') with its Python in PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d) tunnel=""
trap 'rm -rf "$work"; kill $tunnel 2>/dev/null || true' EXIT

cluster=(--context kind-clipsearch --namespace clipsearch)
in_cluster() { kubectl "${cluster[@]}" "$@"; }

connect() { # a tunnel to the pod that runs now; the one before ended with its pod
  for _ in $(seq 30); do
    kill $tunnel 2>/dev/null || true
    kubectl "${cluster[@]}" port-forward deployment/search 50052 >"$work/tunnel" 2>&1 &
    tunnel=$!
    sleep 2
    if clipsearch health 127.0.0.1:50052; then return; fi
  done
  cat "$work/tunnel" >&2
  return 1
}

find_the_cat() {
  local found
  found=$(clipsearch search "a cat" --limit 1 --json)
  echo "$found"
  [[ $found == *chelsea.png* ]]
}

docker buildx bake -f deploy/docker/docker-bake.json --load
kind create cluster --name clipsearch --wait 2m
for image in $(kubectl kustomize deploy/kubernetes/overlays/local | sed -n 's/^[ -]*image: //p' | sort -u); do
  kind load docker-image --name clipsearch "$image"
done

in_cluster apply -k deploy/kubernetes/keep/local
deploy/kubernetes/secrets.sh 2>"$work/shown" | in_cluster apply -f -
CLIPSEARCH_TOKEN=$(sed -n 's/^token of callers .*: //p' "$work/shown")
export CLIPSEARCH_TOKEN
in_cluster apply -k deploy/kubernetes/overlays/local
in_cluster rollout status deployment/encoder --timeout 5m
in_cluster rollout status deployment/search --timeout 5m

connect
python -c "from clipsearch.downloads.samples import write_samples; write_samples('$work/photos')"
clipsearch index "$work/photos"
find_the_cat

in_cluster delete pod --selector app.kubernetes.io/name=search --grace-period 0 --force
in_cluster rollout status deployment/search --timeout 5m
connect
find_the_cat
echo "found before and after the pod was killed"
