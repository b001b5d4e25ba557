"""Training sets by Freshet and its peers, one after the other, on the same events, spine and window edges, two threads each.

    python3 -m venv peers && peers/bin/pip install duckdb==2.0.0 polars==2.1.0 'feast[duckdb]==0.67.0'
    cargo bench --bench offline -- make FOLDER 10000000 500000
    peers/bin/python benches/peers/run.py FOLDER basic|distinct freshet duckdb-range duckdb-join polars-rolling ...

Each engine is a process of its own, from its start to its end: wall time, processors' time and the peak of its memory are those
of the process. One that takes more than LIMIT_SECONDS or LIMIT_GIB is ended, and that is its result. What it says is compared
with Freshet's answer, which stays in FOLDER/out; exits with 1 if one differs. FRESHET_BENCH names a built benchmark, where it is
not to be built now.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
# Two threads; and neither warnings about what peers use among each other, nor files beside the scripts.
ENVIRONMENT = {"POLARS_MAX_THREADS": "2", "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"}
PEERS = ["duckdb-range", "duckdb-join", "duckdb-fixed", "polars-rolling", "polars-join", "feast-dask", "feast-duckdb"]
BEYOND = {("distinct", "polars-rolling"): "beyond it: counts of distinct values do not add up"}
LIMIT_SECONDS = 900
LIMIT_GIB = 12
FRESHET_MIB = "1024"


def benchmark() -> str:
    if "FRESHET_BENCH" in os.environ:
        return os.environ["FRESHET_BENCH"]
    command = ["cargo", "bench", "--bench", "offline", "--no-run", "--message-format=json"]
    built = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    artifacts = [json.loads(line) for line in built.stdout.splitlines()]
    return next(it["executable"] for it in artifacts if it.get("target", {}).get("name") == "offline")


def measured(command: list[str]) -> tuple[str, str]:
    """What there is to say of a process, and whether it was `done`, `ended` or `failed`. This one stays small, for Linux counts
    the memory of whoever starts a process as that process' first peak."""
    started, ended_by = time.monotonic(), ""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not (waited := os.wait4(child.pid, os.WNOHANG))[0]:
        if time.monotonic() - started > LIMIT_SECONDS:
            ended_by = f"not done after {LIMIT_SECONDS} s"
        elif resident_gib(child.pid) > LIMIT_GIB:
            ended_by = f"took more than {LIMIT_GIB} GiB"
        if ended_by:
            child.kill()
        time.sleep(0.05)
    seconds, (_, status, used) = time.monotonic() - started, waited
    child.returncode = os.waitstatus_to_exitcode(status)
    spent = f"{seconds:.2f} s ({used.ru_utime + used.ru_stime:.1f} s of processors), peak {used.ru_maxrss // 1024} MiB"
    end = "ended" if ended_by else "failed" if child.returncode else "done"
    said = [ended_by or (end if end == "failed" else ""), *child.stdout.read().splitlines()]
    return "; ".join([spent, *filter(None, said)]), end


def resident_gib(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30


def script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / name), *map(str, arguments)]


def cut(folder: Path, service: str) -> list[str]:
    return [benchmark(), "cut", str(folder), service, FRESHET_MIB]


def make_midnights(folder: Path, service: str) -> None:
    steps = [script("midnights.py", folder, service, step) for step in ("spine", "table")]
    for step in (steps[0], cut(folder / "midnights", service), steps[1]):
        subprocess.run(step, check=True, stdout=subprocess.DEVNULL)


def run(folder: Path, service: str, engine: str) -> bool:
    """False if it failed, or if its values are not ours but should be."""
    if engine == "freshet":
        said, end = measured(cut(folder, service))
        print(f"{service}, freshet: {said}", flush=True)
        return end == "done"
    if (service, engine) in BEYOND:
        print(f"{service}, {engine}: {BEYOND[service, engine]}", flush=True)
        return True
    peer, form = engine.split("-")
    ours, theirs = folder / "out" / "ours.parquet", folder / f"{engine}.parquet"
    midnights = folder / "midnights" / f"{service}.parquet"
    if peer == "feast" and not midnights.exists():
        make_midnights(folder, service)
    said, end = measured(script(f"in_{peer}.py", folder, service, form, theirs))
    print(f"{service}, {engine}: {said}", flush=True)
    if end != "done" or form == "fixed":
        return end != "failed"
    stale = [midnights, folder / "spine.parquet"] if peer == "feast" else []
    return subprocess.run(script("compare.py", ours, theirs, service, *stale), check=False).returncode == 0


def main() -> None:
    os.environ.update(ENVIRONMENT)
    folder, service, engines = Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or ["freshet", *PEERS]
    same = [run(folder, service, engine) for engine in engines]
    sys.exit(int(not all(same)))


if __name__ == "__main__":
    main()
