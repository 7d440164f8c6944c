"""A fuzzer finds nothing that src/request/judge.c judges acceptable and that is not, by an oracle of its own."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import request_targets
from httpd import PROJECT

FUZZ = os.path.join(PROJECT, "test", "fuzz")
RUNS = 120000       # about 4 s; `make fuzz` runs for as long as you like


def fuzzer(folder):
    """The harness, built with libFuzzer and sanitizers; skips where Debian's clang and its run-time are not installed."""
    compiler = shutil.which("clang")
    if not compiler:
        pytest.skip("no clang")
    path = os.path.join(folder, "fuzz_boot_request")
    build = subprocess.run(
        [compiler, "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=fuzzer,address,undefined",
         "-fno-sanitize-recover=all", "-o", path, os.path.join(FUZZ, "fuzz_boot_request.c"),
         os.path.join(PROJECT, "src", "request", "judge.c"), "-I" + os.path.join(PROJECT, "src")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if re.search(r"clang_rt|unsupported option|cannot find", build.stdout):
        pytest.skip("clang has no libFuzzer: install libclang-rt-N-dev, N being clang's version")
    assert build.returncode == 0, build.stdout
    return path


@pytest.mark.thorough
def test_short_run(tmp_path):
    """Always the same inputs, from the table of targets on."""
    program = fuzzer(str(tmp_path))
    corpus = str(tmp_path / "corpus")
    subprocess.run([sys.executable, "-B", request_targets.__file__, corpus], check=True)
    run = subprocess.run([program, "-seed=1", "-runs=%d" % RUNS, "-max_len=200", "-dict=%s/fuzz_boot_request.dict" % FUZZ,
                          corpus], cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    said = run.stdout.decode("latin-1")
    assert run.returncode == 0, said[-3000:]
    assert re.search(r"Done %d runs" % RUNS, said), said[-3000:]
