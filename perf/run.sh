#!/usr/bin/env bash
# perf/run.sh - installs what measuring needs, builds, measures everything, prints tables and verdicts, draws the figures
#
# usage: [sudo] perf/run.sh [OPTION...]        the options are perf/run.py's: --quick, --targets, --full, --only, ...
#
# Packages come through etc/install-deps.sh, matplotlib into build/perf-venv; the figures go to build/perf-results/plots
# unless --plot says otherwise. As root, TCP through the switch is measured as well, in network namespaces of its own.
# Linux, two cores. Debian starts a service with the package openvswitch-switch; it is not used, and may be disabled.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in -h | --help) sed -n '2,8s/^# \{0,1\}//p' perf/run.sh; echo; exec python3 perf/run.py --help ;; esac
[ "$(uname -s)" = Linux ] || { echo "perf/run.sh: error: the generator is for Linux; this is $(uname -s)" >&2; exit 1; }

etc/install-deps.sh build perf
venv=build/perf-venv
if ! cmp -s perf/requirements.txt $venv/requirements.txt; then
    python3 -m venv $venv
    $venv/bin/pip install -q -r perf/requirements.txt
    cp perf/requirements.txt $venv/requirements.txt
fi
exec $venv/bin/python perf/run.py --plot build/perf-results/plots "$@"
