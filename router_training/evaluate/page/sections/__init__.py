"""The sections of the page, in its order. A section is one file with `build(judgement)` and one line here."""

from importlib import import_module

from router_training.evaluate.page.judgement import Judgement
from router_training.evaluate.page.section import Section

SECTIONS = (
    "accuracy",
    "within_task",
    "cost",
    "calibration",
    "abstention",
    "choices",
    "query_map",
    "learning",
    "mistakes",
)


def build_sections(judgement: Judgement) -> list[Section]:
    """Every section that has something to show."""
    built = (import_module(f"{__name__}.{name}").build(judgement) for name in SECTIONS)
    return [section for section in built if section is not None]
