"""perf/run.py interrupted: what it started is gone, also where the signal comes twice, as from sudo."""
import os
import signal
import subprocess
import sys
import time

import pytest

from switchd import BIN, ROOT


@pytest.mark.skipif(os.cpu_count() < 2, reason="perf needs a core for the switch and one for the generator")
def test_an_interrupted_run_keeps_its_results_and_leaves_nothing(tmp_path):
    out = tmp_path / "results.json"
    run = subprocess.Popen([sys.executable, str(ROOT / "perf" / "run.py"), "--bin", str(BIN), "--only", "vmswitch-stream", "--tests",
                            "pair-1500", "--repeat", "100", "--out", str(out)],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        seen = []
        for line in run.stdout:
            seen.append(line)
            if "ns/frame" in line:
                break
        time.sleep(.5)  # in the middle of the next run
        for _ in range(3):
            run.send_signal(signal.SIGTERM)
            time.sleep(.02)
        rest = run.communicate(timeout=30)[0]
    finally:
        run.kill()
    assert run.returncode == 130, "".join(seen) + rest
    assert "what was measured is kept" in rest and out.exists()
    # Its session: the switch and the generator are in it, whoever has become their parent.
    left = subprocess.run(["pgrep", "-s", str(run.pid), "-a"], capture_output=True, text=True).stdout
    assert left == ""
