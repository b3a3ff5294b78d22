#!/usr/bin/env bash
# xdist_lost_worker.sh: a run with --dist loadgroup waits for ever after a worker has died.
#
# Versions:  pytest 9.2.0, pytest-xdist 3.8.0
# Behaviour: when a worker dies, all its groups go back into the queue, also those of which every test has run. A
#            worker is handed one group, and the next only when a test ends; handed a group with nothing left to
#            run, it waits for ever (`sending command runtests {'indices': []}` in the debug log).
#            The test that killed the worker is run again, too. The same holds for loadscope and loadfile.
# Expected:  the lost test reported, and the run ended or gone on with.
# Why it matters: continuous integration hangs until its own limit and never says which test it was.
#            --max-worker-restart=0 ends the run with the test's name.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pytest==9.2.0 pytest-xdist==3.8.0
mkdir "$work/tests"
cd "$work"
cat > tests/conftest.py <<'PY'
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.name))
PY
printf 'import os, time\ndef test_1(): time.sleep(0.1)\ndef test_2(): os.abort()\ndef test_3(): pass\n' > tests/test_a.py
for name in b c d; do
  printf 'import time\ndef test_1(): time.sleep(0.2)\ndef test_2(): time.sleep(0.2)\n' > "tests/test_$name.py"
done
run() { timeout 60 venv/bin/python -m pytest -q -n 2 --dist loadgroup "$@" tests > log.txt 2>&1; }
seen=""
for option in -q --max-worker-restart=0; do
  code=0
  run "$option" || code=$?
  echo "$option: exit status $code (124: still waiting after 60 s)"
  grep -oE "crashed while running '[^']*'" log.txt | sort -u || true
  seen="$seen $code"
done
[ "$seen" = " 124 1" ] || { echo "changed: see the header for what was seen before"; exit 1; }
