"""No-op tasks through Parsl's HighThroughputExecutor on two nodes of a Slurm job: one JSON line a trial.

    parsl_bench.py RUN_DIR ADDRESS SETTINGS [COUNT:OUTSTANDING ...]

SETTINGS is JSON: prefetch, encrypted, poll_ms. A trial is COUNT tasks in batches of 1,000, of which OUTSTANDING are on their
way at once (0: all). The executor is used by itself, without the data-flow kernel and without logs, which would cost it time.
"""
import json
import os
import sys
import time
from concurrent.futures import wait

BATCH = 1000
WORKERS = 4
START_S = 120


def noop(k):
    return k


def open_executor(run_dir, address, settings):
    from parsl.executors import HighThroughputExecutor
    from parsl.launchers import SrunLauncher
    from parsl.providers import SlurmProvider

    here = os.path.dirname(os.path.abspath(__file__))
    paths = f"export PATH={os.path.dirname(sys.executable)}:$PATH PYTHONPATH={here}"
    executor = HighThroughputExecutor(
        label="htex",
        address=address,
        cores_per_worker=1,
        max_workers_per_node=2,
        prefetch_capacity=settings["prefetch"],
        encrypted=settings["encrypted"],
        poll_period=settings["poll_ms"],
        provider=SlurmProvider(
            partition="gpu",
            nodes_per_block=2,
            cores_per_node=2,
            mem_per_node=4,
            exclusive=False,
            walltime="00:15:00",
            worker_init=paths,
            launcher=SrunLauncher(),
        ),
    )
    executor.run_dir = run_dir
    executor.provider.script_dir = os.path.join(run_dir, "scripts")
    os.makedirs(executor.provider.script_dir)
    os.makedirs(executor.logdir, exist_ok=True)
    executor.start()
    executor.scale_out_facade(1)
    for _ in range(START_S * 10):
        if sum(manager["worker_count"] for manager in executor.connected_managers()) == WORKERS:
            return executor
        time.sleep(0.1)
    raise SystemExit(f"{WORKERS} workers did not come in {START_S} s")


def trial(executor, task, count, outstanding):
    """Seconds from the first submit to the last result; each result is compared with what its task was given."""
    batches = []
    checked = 0

    def check(first, futures):
        nonlocal checked
        wait(futures)
        for k, future in enumerate(futures):
            if future.result() != first + k:
                raise SystemExit(f"task {first + k} answered {future.result()!r}")
            checked += 1

    began = time.monotonic()
    for first in range(0, count, BATCH):
        if outstanding and len(batches) >= outstanding:
            check(*batches.pop(0))
        batches.append((first, [executor.submit(task, {}, k) for k in range(first, min(first + BATCH, count))]))
    for batch in batches:
        check(*batch)
    seconds = time.monotonic() - began
    if checked != count:
        raise SystemExit(f"{checked} results for {count} tasks")
    return seconds


def main():
    run_dir, address, settings, *trials = sys.argv[1:]
    # By reference: a function of __main__ would be sent by value with each task.
    from parsl_bench import noop as task

    began = time.monotonic()
    executor = open_executor(run_dir, address, json.loads(settings))
    start_s = time.monotonic() - began
    try:
        trial(executor, task, BATCH, 0)
        for text in trials:
            count, outstanding = map(int, text.split(":"))
            seconds = trial(executor, task, count, outstanding)
            told = {"count": count, "outstanding": outstanding, "seconds": seconds, "startS": start_s}
            print(json.dumps(told), flush=True)
    finally:
        executor.scale_in_facade(1)
        executor.shutdown()


if __name__ == "__main__":
    main()
