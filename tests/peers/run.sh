#!/usr/bin/env bash
# Runs other people's clients and suites against the proxy: run.sh [SUITE...] (default: all), after install.sh.
# $PORTUNUS, $AGENTS and $CEL name the binaries; default: those in cargo's target folder. THROUGH=relay leaves the proxy out.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PEERS_DIR=${PEERS_DIR:-$HOME/.cache/portunus-peers}
target=${CARGO_TARGET_DIR:-$here/../../target}
export PORTUNUS=${PORTUNUS:-$target/${PROFILE:-debug}/portunus}
export AGENTS=${AGENTS:-$target/${PROFILE:-debug}/portunus-agents}
export CEL=${CEL:-$target/${PROFILE:-debug}/portunus-cel}
# The suites are Python too; grpcio's environment is the one whose version they are proven with.
python=$PEERS_DIR/grpcio/bin/python

[ -x "$python" ] || { echo "peers: $python is missing: run tests/peers/install.sh" >&2; exit 1; }
suites=("$@")
if [ ${#suites[@]} -eq 0 ]; then
  suites=(interop rpc47 bindu)
  # The others ask for answers of the proxy's own, which no relay gives.
  [ "${THROUGH:-proxy}" = relay ] || suites+=(h2spec nghttp2 curl gonet schemas cel grpcurl jwt container chromium)
fi
failed=()
for suite in "${suites[@]}"; do
  [ -f "$here/$suite/run.py" ] || { echo "peers: no suite $suite in $here" >&2; exit 1; }
  options=()
  if [ "${THROUGH:-proxy}" = relay ]; then
    # A relay cannot be a registrar: the core alone is what bindu/ shows then.
    if [ "$suite" = bindu ]; then options=(--through directly); else options=(--through relay); fi
  fi
  "$python" "$here/$suite/run.py" "${options[@]}" || failed+=("$suite")
done
[ ${#failed[@]} -eq 0 ] || { echo "peers: failed: ${failed[*]}" >&2; exit 1; }
