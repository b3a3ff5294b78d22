#!/usr/bin/env bash
# onnxruntime_telemetry.sh: importing onnxruntime records its use on disk; its API switches it off too late.
#
# Versions:  onnxruntime 1.31.1
# Behaviour: `import onnxruntime`, without any session, writes a device id and a database with the path of the
#            program, the processor and the operating system into the user's cache, and a file into the temporary
#            folder; in a process of some seconds its threads look up mobile.events.data.microsoft.com.
#            `disable_telemetry_events()` cannot come before that. ORT_DISABLE_TELEMETRY=1 (or true, yes; not 0, 2 or
#            nothing) in the environment before the import prevents it; set behind the import it does nothing.
#            CI=true or GITHUB_ACTIONS=true prevents it as well, so a test that looks for such files sees none there.
# Expected:  as its Privacy.md says of the variable; the files of an import are said nowhere.
# Why it matters: torchmetrics, and so Lightning, imports it where librosa is installed: training a confidential
#            network leaves records, and asks a name server for their endpoint.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.31.1
seen=""
trial() { # name, variable, code
  mkdir -p "$work/$1/home" "$work/$1/tmp"
  env -i ${export_ci:-} HOME="$work/$1/home" TMPDIR="$work/$1/tmp" ORT_DISABLE_TELEMETRY="$2" "$work/venv/bin/python" -B -c "$3"
  files=$(find "$work/$1" -type f | wc -l)
  echo "$1: $files files"
  seen="$seen $files"
}
trial nothing "" "import onnxruntime"
trial call "" "import onnxruntime; onnxruntime.disable_telemetry_events()"
trial set_behind "" "import os, onnxruntime; os.environ['ORT_DISABLE_TELEMETRY'] = '1'"
trial set_before "" "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; import onnxruntime"
trial environment_1 1 "import onnxruntime"
trial environment_true true "import onnxruntime"
trial environment_0 0 "import onnxruntime"
export_ci=CI=true trial in_ci "" "import onnxruntime"
[ "$seen" = " 3 3 3 0 0 0 3 0" ] || { echo "changed: see the header for what was seen before"; exit 1; }
