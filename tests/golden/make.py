"""Write the golden vectors anew, from the scalar reference: `python tests/golden/make.py`. Only for a new version."""

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

    with tempfile.TemporaryDirectory() as folder:
        chip = small_chip(Path(folder))
        vectors = {
            name: {"feature": case.feature, "config_sha256": case.config_sha256} | case.play("reference")
            for name, case in all_cases(chip)
        }
    content = {"format": "bcall_hw/emulator_golden", "specification_version": 1, "vectors": vectors}
    (HERE / "emulator_v1.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"{len(vectors)} vectors, {sum(v['spikes'] > 0 for v in vectors.values())} of them with spikes")


if __name__ == "__main__":
    main()
