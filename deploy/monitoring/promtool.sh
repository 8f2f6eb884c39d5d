#!/usr/bin/env bash
# Checks the alerts and Prometheus' configuration, and runs the alerts' unit tests, where promtool is to be had.
set -euo pipefail
cd "$(dirname "$0")"
promtool=${PROMTOOL:-$(command -v promtool || true)}
if [ -z "$promtool" ]; then
  echo "   left out: promtool is not installed (Debian's package prometheus has it; or PROMTOOL=/path/to/promtool)"
  exit 0
fi
"$promtool" check rules alerts.yaml
"$promtool" test rules alerts_test.yaml
"$promtool" check config --syntax-only prometheus.yaml
