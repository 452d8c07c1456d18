"""Says how the project is used to who runs `pip install .`: it is no package."""

raise SystemExit(
    "Modular Prompt Learning is used from its clone: pip install -r requirements.txt, then bash "
    "scripts/mpl/base2new.sh shapes 1; an exported classifier (docs/EXPORT.md) needs no clone."
)
