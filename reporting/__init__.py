"""From finished runs to tables, pages and figures: `result.json` in, the papers' tables out. Nothing here trains or tests.

`runs` reads, `protocols` recognises what kind of run each is, `aggregate` makes the tables, `text` and `page` write them, `figures` draw them.
"""
