"""A stand-in for the Python that a launcher calls: it leaves a run's files as train.py does, and fails, waits or dies where it is told to.

Real runs are in test_real_runs.py; here what matters is how runs end, and these end in the ways that real ones do not when they are asked.
"""

from __future__ import annotations

import json
from pathlib import Path

# Behaviour: a file of lines "PART OF THE OUTPUT FOLDER|WORDS": fail (status 3), kill (by SIGKILL), wait SECONDS.
SCRIPT = """#!{python} -SE
import json, os, shutil, signal, sys, time
if "check_requirements" in sys.argv[1]:
    sys.exit(0)
if sys.argv[1].endswith("reproduce.py"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
folder = sys.argv[sys.argv.index("--output-dir") + 1]
if "--fresh" in sys.argv:
    shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder, exist_ok=True)
open(folder + "/settings.txt", "w").write(os.environ["LAUNCH_SETTINGS"] + "\\n")
world = {world!r}
def note(what):
    with open(world + "/calls", "a") as file:
        variables = [os.environ.get(k, "-") for k in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")]
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0)))) if hasattr(os, "sched_getaffinity") else "-"
        file.write("|".join([what, folder, str(os.getpid()), cores, *variables]) + "\\n")
def write(**result):
    order = ["%s: %s" % (json.dumps(k), json.dumps(v)) for k, v in result.items()]
    open(folder + "/result.json", "w").write("{{\\n  " + ",\\n  ".join(order) + "\\n}}\\n")
def end(number, frame):
    note("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # what a launcher passes on; train.py takes it for no second one
note("start")
print("setting out for", folder, flush=True)
write(finished=False)
told = [line.strip().split("|") for line in open(world + "/behaviour")] if os.path.exists(world + "/behaviour") else []
for part, action in told:
    if part in folder:
        verb, _, seconds = action.partition(" ")
        if verb == "fail":
            print("CUDA out of memory, says the stand-in", flush=True)
            sys.exit(3)
        if verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        end_at = time.monotonic() + float(seconds)
        while time.monotonic() < end_at:
            time.sleep(0.02)
if "--eval-only" not in sys.argv:
    os.makedirs(folder + "/MultiModalPromptLearner", exist_ok=True)
    open(folder + "/MultiModalPromptLearner/checkpoint", "w").write("model.pth.tar-1\\n")
    open(folder + "/MultiModalPromptLearner/model.pth.tar-1", "w")
write(finished=True, accuracy=50.0, train_seconds=4.0, test_seconds=1.0, epochs_done=5, ended=str(time.time()))
note("end")
"""


class StandIn:
    """The stand-in in a folder of its own, with what it is told to do and what it was called for.

    Args:
        world: the folder; ``output`` and ``data`` in it are those of the runs.
        python: what runs it.
    """

    def __init__(self, world: Path, python: str) -> None:
        self.world = world
        self.path = world / "python"
        self.path.write_text(SCRIPT.format(python=python, world=str(world)), encoding="utf-8")
        self.path.chmod(0o755)

    def behave(self, **by_part: str) -> None:
        """What to do in runs whose folder has this part, ``__`` for ``/``; nothing unusual in the others."""
        lines = [f"{part.replace('__', '/')}|{words}\n" for part, words in by_part.items()]
        (self.world / "behaviour").write_text("".join(lines), encoding="utf-8")

    def calls(self, what: str = "start") -> list[list[str]]:
        """Of each call that has come to ``what`` (start, saved, end): folder below output, process, cores, GPU, threads."""
        path = self.world / "calls"
        rows = [line.split("|") for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        return [[str(Path(row[1]).relative_to(self.world / "output")), *row[2:]] for row in rows if row[0] == what]

    def folders(self, what: str = "start") -> list[str]:
        """The folders of :meth:`calls`, in order."""
        return [row[0] for row in self.calls(what)]

    def finished(self) -> list[str]:
        """The folders that hold a finished run."""
        found = (self.world / "output").rglob("result.json")
        return sorted(str(p.parent.relative_to(self.world / "output")) for p in found if json.loads(p.read_text())["finished"])
