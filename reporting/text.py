"""Tables as text: for the terminal, in Markdown, in LaTeX, and as CSV with every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from . import published
from .aggregate import AVERAGE, Cell, ResultTable, Row, is_due
from .pivot import PivotTable

MISSING = "—"
BEYOND = "*"  # behind a difference that is larger than the seeds' spread
LEGEND = (
    "Accuracy in percent, mean ± sample standard deviation over seeds; H is the harmonic mean of the means, and of an average that of the averages. "
    "paper: the published figure; diff: ours less the published; * the difference is larger than the seeds' spread. "
    "— is missing; n/m says that n of m seeds or datasets are there."
)
WIDE = 1000  # columns of a console that never wraps a table


def mean_and_spread(cell: Cell, digits: int = 2) -> str:
    """`82.28 ± 0.31`, or the mean alone where there is no spread; a figure over less than was asked for says so."""
    if cell.mean is None:
        return MISSING
    spread = "" if cell.spread is None else f" ± {cell.spread:.{digits}f}"
    return f"{cell.mean:.{digits}f}{spread}{lack(cell)}"


def lack(cell: Cell) -> str:
    """` (2/3 seeds)` or ` (10/11 datasets)` for a figure that rests on less than was asked for."""
    if len(cell.datasets) < cell.n_datasets_asked:
        return f" ({len(cell.datasets)}/{cell.n_datasets_asked} datasets)"
    if cell.mean is not None and cell.n_seeds < cell.n_seeds_asked:
        return f" ({cell.n_seeds}/{cell.n_seeds_asked} seeds)"
    return ""


def signed(cell: Cell) -> str:
    """The difference from the published figure with its sign, and a star where it is beyond the seeds' spread."""
    if cell.difference is None:
        return ""
    digits = f"{cell.difference:+.2f}".replace("-", "−")
    return f"{digits[1:] if digits[1:] == '0.00' else digits}{BEYOND if cell.is_beyond_spread else ''}"


def heading(metric: str, protocol: str) -> str:
    """A column's name: of few-shot tables the shots."""
    if protocol != "fewshot":
        return metric
    return {"0": "zero-shot", "1": "1 shot", "-1": "all"}.get(metric, f"{metric} shots")


def grid(table: ResultTable | PivotTable) -> tuple[list[str], list[list[str]]]:
    """Heads of the columns, and rows of cells, as every text format writes them."""
    if isinstance(table, PivotTable):
        return table.grid(mean_and_spread)
    heads = ["dataset", "method", "seeds"]
    for metric in table.metrics:
        heads += [heading(metric, table.protocol), *(["paper", "diff"] if table.has_published else [])]
    return heads, [_grid_row(table, row) for row in table.rows]


def _grid_row(table: ResultTable, row: Row) -> list[str]:
    line = [row.dataset, row.label, n_seeds(list(row.cells.values()))]
    for metric in table.metrics:
        cell = row.cells[metric]
        line.append(mean_and_spread(cell) if is_due(metric, cell) else "")
        if table.has_published:
            line += [MISSING if cell.published is None else f"{cell.published:.2f}", signed(cell)]
    return line


def n_seeds(cells: Sequence[Cell]) -> str:
    """On how many seeds the figures of a row rest: `3`, or `2–3` where they differ."""
    counts = sorted({cell.n_seeds for cell in cells if cell.mean is not None})
    return "0" if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def remarks(table: ResultTable | PivotTable) -> list[str]:
    """What stands below a table: warnings first, what its runs ran on, and notes."""
    lines = [f"WARNING: {warning}" for warning in table.provenance.warnings]
    lines += facts(table)
    lines += [f"Note: {note}" for note in table.notes]
    return lines


def facts(table: ResultTable | PivotTable) -> list[str]:
    """What the runs of a table ran on, and how long a training took."""
    seconds = table.training_seconds if isinstance(table, ResultTable) else {}
    times = [f"training of a run, mean: {', '.join(f'{label} {s:.0f} s' for label, s in seconds.items())}"] if seconds else []
    return [*table.provenance.lines, *times]


def claims(tables: Sequence[ResultTable | PivotTable]) -> list[str]:
    """What the MPL paper claims, for tables that hold MPL's runs or published figures; the paper's own table is not at hand, which is said."""
    protocols = dict.fromkeys(t.protocol for t in tables if isinstance(t, ResultTable) and set(t.datasets) & set(published.BENCHMARK))
    told = published.mpl_claims(list(protocols))
    if not told:
        return []
    return ["The MPL paper's figures for each dataset are not at hand, so that no published figure stands beside MPL. Its claims:", *told]


def plain_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], n_words: int, title: str = "", is_terminal: bool = False, in_groups: bool = False
) -> str:
    """A table drawn with lines, as wide as it needs, so that no cell is cut or wrapped, on a terminal and in a pipe alike.

    Args:
        heads, rows: the cells.
        n_words: how many of the first columns hold words and stand to the left.
        title: stands above.
        is_terminal: with bold letters.
        in_groups: with a line where the first column changes.
    """
    out = io.StringIO()
    console = Console(
        file=out, width=WIDE, force_terminal=is_terminal, highlight=False, no_color=not is_terminal, emoji=False, markup=False
    )
    drawn = Table()
    for i, head in enumerate(heads):
        drawn.add_column(head, justify="left" if i < n_words else "right", no_wrap=True)
    for i, row in enumerate(rows):
        ends = in_groups and i + 1 < len(rows) and rows[i + 1][0] != row[0]
        drawn.add_row(*row, end_section=ends, style="bold" if row[0] == AVERAGE else None)
    if title:
        console.print(title, style="bold", soft_wrap=True)
    console.print(drawn)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def to_terminal(tables: Sequence[ResultTable | PivotTable], is_terminal: bool = False) -> str:
    """Tables drawn with lines, what is to be known of each below it, and the legend."""
    parts = []
    for table in tables:
        heads, rows = grid(table)
        parts.append(plain_table(heads, rows, table_text_columns(table), table.title, is_terminal, isinstance(table, ResultTable)))
        parts.append("".join(f"{line}\n" for line in [*remarks(table), ""]))
    return "".join([*parts, *(f"{line}\n" for line in [LEGEND, *claims(tables)])])


def table_text_columns(table: ResultTable | PivotTable) -> int:
    """How many of the first columns hold words."""
    return 2 if isinstance(table, ResultTable) else 1


def to_markdown(tables: Sequence[ResultTable | PivotTable]) -> str:
    """Tables of GitHub's Markdown; averages in bold."""
    parts = []
    for table in tables:
        heads, rows = grid(table)
        n_words = table_text_columns(table)
        lines = [f"### {table.title}", "", _piped(heads), _piped(["---"] * n_words + ["---:"] * (len(heads) - n_words))]
        lines += [_piped([f"**{cell}**" if row[0] == AVERAGE and cell else cell for cell in row]) for row in rows]
        parts.append("\n".join([*lines, "", *(f"- {remark}" for remark in remarks(table))]))
    told = claims(tables)
    parts.append(
        "\n\n".join([LEGEND.replace(BEYOND, "\\*"), *([told[0] + "\n\n" + "\n".join(f"- {claim}" for claim in told[1:])] if told else [])])
    )
    return "\n\n".join(parts) + "\n"


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


LATEX_SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "—": "---", "–": "--", BEYOND: r"$^{*}$",
}  # fmt: skip


END_OF_LINE = r" \\"


def latex(text: str) -> str:
    """`text` with the signs that LaTeX reads as commands written so that it prints them."""
    return "".join(LATEX_SIGNS.get(sign, sign) for sign in text)


def to_latex(tables: Sequence[ResultTable | PivotTable]) -> str:
    """Tables for a paper; they need `\\usepackage{booktabs}`. What a reader has to know stands in comments above and in the caption."""
    parts = [r"% needs \usepackage{booktabs}", *(f"% {line}" for line in [LEGEND, *claims(tables)])]
    for table in tables:
        heads, rows = grid(table)
        n_words = table_text_columns(table)
        parts += [
            "",
            *(f"% {remark}" for remark in remarks(table)),
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{latex(table.title)}.}}",
        ]
        parts += [
            rf"\begin{{tabular}}{{{'l' * n_words}{'r' * (len(heads) - n_words)}}}",
            r"\toprule",
            " & ".join(map(latex, heads)) + END_OF_LINE,
        ]
        previous = None
        for row in rows:
            if row[0] != previous and (previous is None or isinstance(table, ResultTable)):
                parts.append(r"\midrule")
            previous = row[0]
            cells = [_bold(latex(cell)) if row[0] == AVERAGE and cell else latex(cell) for cell in row]
            parts.append(" & ".join(cells) + END_OF_LINE)
        parts += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(parts) + "\n"


def _bold(cell: str) -> str:
    return rf"\textbf{{{cell}}}"


CSV_COLUMNS = (
    "protocol", "shots", "trained_on", "dataset", "method", "metric", "mean", "sample_std", "n_seeds", "n_seeds_asked", "by_seed",
    "published", "difference", "beyond_spread", "n_datasets", "n_datasets_asked", "hardware", "commits", "precisions",
)  # fmt: skip


def to_csv(tables: Sequence[ResultTable | PivotTable]) -> str:
    """One line a figure, with every digit; empty where there is none. A pivot's lines name the point of the grid as their method."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        if isinstance(table, PivotTable):
            for label, cell in table.points():
                writer.writerow(_csv_line(table.table, "pivot", label, table.metric, cell))
            continue
        for row in table.rows:
            for metric, cell in row.cells.items():
                writer.writerow(_csv_line(table, row.dataset, row.label, metric, cell))
    return out.getvalue()


def _csv_line(table: ResultTable, dataset: str, label: str, metric: str, cell: Cell) -> list[object]:
    slots = table.experiment.runs.get(label, {})
    runs = [run for slot, run in slots.items() if dataset in (AVERAGE, "pivot", slot.dataset) and metric in ("H", slot.metric)]
    told: list[Callable] = [lambda r: r.result.get("device"), lambda r: r.commit(), lambda r: r.precision]
    return [
        table.protocol, table.experiment.shots or "", table.experiment.source, dataset, label, metric, *map(_exact, (cell.mean, cell.spread)),
        cell.n_seeds, cell.n_seeds_asked, ";".join(f"{seed}:{value!r}" for seed, value in sorted(cell.by_seed.items())),
        *map(_exact, (cell.published, cell.difference)), "" if cell.difference is None else cell.is_beyond_spread,
        len(cell.datasets) or "", cell.n_datasets_asked or "", *(";".join(sorted({str(f(r)) for r in runs if f(r)})) for f in told),
    ]  # fmt: skip


def _exact(number: float | None) -> str:
    return "" if number is None else repr(number)
