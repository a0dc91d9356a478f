"""The licence that a checkpoint's model card names, as an SPDX identifier."""

from pathlib import Path

import yaml
from huggingface_hub import metadata_load

from model_export.errors import ExportError

# The hub writes licences in lower case; these are SPDX's names for the usual ones (https://spdx.org/licenses/).
_SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd": "BSD-3-Clause",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "cc0-1.0": "CC0-1.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "afl-3.0": "AFL-3.0",
    "gpl-3.0": "GPL-3.0-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "agpl-3.0": "AGPL-3.0-only",
    "unlicense": "Unlicense",
}


def read_licence(folder: Path) -> str | None:
    """Read `license` from the front matter of README.md, if there is one.

    A licence that SPDX doesn't list becomes `LicenseRef-...`. Raises ExportError for a front matter that isn't YAML.
    """
    card = folder / "README.md"
    if not card.is_file():
        return None
    try:
        metadata = metadata_load(card)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise ExportError(f"{folder.name}/README.md has a front matter that isn't YAML; name the --licence") from exc
    licence = (metadata or {}).get("license")
    if not isinstance(licence, str):
        return None
    return _SPDX.get(licence.lower(), f"LicenseRef-{licence}")
