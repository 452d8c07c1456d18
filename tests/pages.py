"""For tests of pages: whether a command printed what the page shows."""

import re

NUMBER = re.compile(r"\d+\.\d+")


def shows(line: str, out: str, tolerance: float) -> bool:
    """Whether `out` has `line`: "…" is anything, and numbers may differ by the tolerance."""
    pattern = NUMBER.sub(lambda _: r"(\d+\.\d+)", re.escape(line).replace(r"\.", ".").replace("…", ".*"))
    pattern = re.sub(r"(\\ )+", r" +", pattern)
    expected = [float(number) for number in NUMBER.findall(line)]
    return any(
        all(abs(float(a) - b) <= tolerance for a, b in zip(match.groups(), expected, strict=True))
        for match in re.finditer(f"^{pattern}$", out, re.MULTILINE)
    )
