"""What can be wrong with an artefact or its contents.

    RouterCoreError
    ├── ArtefactError            a file on disk cannot be trusted or read
    │   ├── BundleError          a router bundle: missing file, wrong digest, wrong shape, NaN, unknown version
    │   ├── ModelCardError       a served-model manifest
    │   ├── TableError           a training table or query file; names file, row and column
    │   └── DecisionLogError     a decision log; names file and line
    └── AnswerSpecError          an answer specification that no checker understands

Messages name the file and the offending value and say what to do; they never hold a prompt or a secret.
"""


class RouterCoreError(Exception):
    """Base of every error the contract package raises."""


class ArtefactError(RouterCoreError):
    """A file on disk cannot be trusted or read."""


class BundleError(ArtefactError):
    """A router bundle is incomplete, altered, malformed or of an unknown version."""


class ModelCardError(ArtefactError):
    """A model card is incomplete, altered or malformed."""


class TableError(ArtefactError):
    """A training table or query file is malformed; the message names the file and the row."""


class DecisionLogError(ArtefactError):
    """A line of a decision log is no record of a known version; the message names the file and the line."""


class AnswerSpecError(RouterCoreError):
    """An answer specification names a kind or a value that no checker understands."""
