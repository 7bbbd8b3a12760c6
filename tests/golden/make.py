"""Write the golden vectors of a version of the specification, from the scalar reference: `python tests/golden/make.py`.

Refuses to replace vectors that are there: bits that change are a new version (`words.SPECIFICATION_VERSION`). New cases of a
version are added with `--add`, which leaves the others as they are and fails where one differs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))


def main() -> None:
    from emulator_helpers import small_chip
    from golden_cases import all_cases

    from bcall_hw.backend.emulator.words import SPECIFICATION_VERSION

    path, known = HERE / f"emulator_v{SPECIFICATION_VERSION}.json", {}
    if path.exists():
        if sys.argv[1:] != ["--add"]:
            raise SystemExit(f"{path.name} is there: take a new version, or give --add for new cases of this one")
        known = json.loads(path.read_text(encoding="utf-8"))["vectors"]
    with tempfile.TemporaryDirectory() as folder:
        chip = small_chip(Path(folder))
        vectors = {
            name: {"feature": case.feature, "config_sha256": case.config_sha256} | case.play("reference")
            for name, case in all_cases(chip)
        }
    changed = sorted(name for name, vector in known.items() if vectors.get(name) != vector)
    if changed:
        raise SystemExit(f"these vectors would change, nothing is written: {', '.join(changed)}")
    content = {"format": "bcall_hw/emulator_golden", "specification_version": SPECIFICATION_VERSION, "vectors": vectors}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{len(vectors)} vectors, {sum(v['spikes'] > 0 for v in vectors.values())} of them with spikes")


if __name__ == "__main__":
    main()
