"""Sweeps of runs: which runs a paper's protocol has, which of them are missing, and running those, several at once.

The launchers of scripts/ stay the one place that says where a run stands, with which settings it is made and whether it is finished: a sweep asks them
(``LAUNCH_PLAN=1``) and runs them, so that a run made by hand counts, and the other way round. ``tools/reproduce.py`` is the command line.

``protocols``  the launcher calls of a protocol, and the datasets of the papers
``plan``       the runs behind those calls and their states
``grid``       ``KEY=a,b,c``: the combinations, and which of them a method refuses
``estimate``   how long runs take
``slots``      GPUs and groups of CPU cores, each given to one run at a time
``job``        the process around one run: its lock, its cores, and its end when the sweep ends
``runner``     runs what is missing
``report``     what is said about it, on a terminal or into a file
"""
