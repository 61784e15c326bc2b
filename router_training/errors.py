"""What can go wrong in an offline job.

    RouterTrainingError
    ├── JobConfigError      a job's YAML: unknown key, wrong type, a combination that cannot run
    ├── DataError           a data set or table a job reads; names the file and the row
    ├── TrainingError       the job itself: no checkpoint to resume, non-finite loss, nothing to train
    └── EndpointError       a model endpoint refused, vanished or broke its contract

Messages name the file and the offending value and say what to do; they never hold a prompt or a secret.
"""


class RouterTrainingError(Exception):
    """Base of every error the training package raises."""


class JobConfigError(RouterTrainingError):
    """A job's configuration cannot be read or cannot run; the message names the key."""


class DataError(RouterTrainingError):
    """A data file is missing or malformed; the message names the file and the row."""


class TrainingError(RouterTrainingError):
    """A job failed while it ran, or has nothing it can resume or train."""


class EndpointError(RouterTrainingError):
    """A model endpoint refused, vanished or broke its contract."""
