"""Networks from NIR graphs, as sinabs and other frameworks write them: see `docs/nir_import.md`."""

from bcall_hw.nir_import.build import ImportedNetwork, import_nir
from bcall_hw.nir_import.result import Layer, Note
from bcall_hw.nir_import.settings import ImportSettings

__all__ = ["ImportSettings", "ImportedNetwork", "Layer", "Note", "import_nir"]
