"""Starts runs of train.py in no time: a process that has imported all of it and forks one real process a run.

It reads requests from standard input and answers each with one line of JSON:

    {"start": [argument of train.py, ...], "output": FILE, "writes": FILE, "kill_at_write": N, "shapes": {...}, "limits": {...}, "user": N}  ->  {"pid": N}
    {"wait": PID, "seconds": S}                                                                                                ->  {"status": N}

`status` is the exit status, or -N for signal N. `kill_at_write` lets the run kill itself (SIGKILL) right before its Nth forcing of a file to disk or
renaming; `writes` counts them. `shapes` makes the dataset shapes smaller, `limits` sets resource limits, and `user` gives up root's rights.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # noqa: F401, imported by a run that trains

import train
from clip.tokenizer import default_tokenizer
from dassl.config import get_cfg_default

torch.set_num_threads(1)
train.extend_cfg(get_cfg_default())
default_tokenizer()  # its vocabulary takes a third of a second to read


def count_writes(path: str | None, kill_at: int) -> None:
    """Count the moments at which a file becomes permanent, into `path`, and kill this process right before the `kill_at`th."""
    count = 0

    def counted(call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if path:
                Path(path).write_text(str(count))
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapper

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)


def start(request: dict[str, Any]) -> int:
    """Fork a run; the child leaves through SystemExit, as a started program does."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request.get("writes") or request.get("kill_at_write"):
        count_writes(request.get("writes"), request.get("kill_at_write", 0))
    for name, n_each in request.get("shapes", {}).items():
        from datasets import shapes_rendering

        shapes_rendering.SPLITS[name] = n_each
    for name, amount in request.get("limits", {}).items():
        resource.setrlimit(getattr(resource, name), (amount, amount))
    if request.get("user"):
        os.setgid(request["user"])
        os.setuid(request["user"])
    sys.argv = ["train.py", *request["start"]]
    sys.exit(train.main(request["start"]))


def wait(pid: int, seconds: float) -> int:
    """The status of a run when it has ended; one that has not after `seconds` is killed."""
    give_up = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > give_up:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.005)


def main() -> None:
    """Answer requests until standard input ends."""
    print(json.dumps({"ready": True}), flush=True)
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        answer = {"pid": start(request)} if "start" in request else {"status": wait(request["wait"], request["seconds"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
