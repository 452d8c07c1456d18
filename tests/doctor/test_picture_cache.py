"""The doctor says how much the kept pictures take, and takes them for no dataset."""

import json


def test_kept_pictures_are_told(root, lay_out, run_doctor):
    lay_out("eurosat")
    status, out, _ = run_doctor("eurosat")
    assert status == 0 and "Decoded pictures kept" not in out
    (root / ".picture_cache").mkdir()
    (root / ".picture_cache" / "x.cache").write_bytes(bytes(range(256)) * 40_000)
    status, out, _ = run_doctor("eurosat")
    assert status == 0 and f"Decoded pictures kept in {root / '.picture_cache'}: 10." in out
    assert json.loads(run_doctor("eurosat", "--json")[1])["picture_cache_bytes"] >= 256 * 40_000
