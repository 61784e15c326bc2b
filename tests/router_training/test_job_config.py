import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from router_training.errors import JobConfigError
from router_training.job_config import UNQUOTED, load_job_config


class Baking(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    flour: str
    minutes: int = Field(30, ge=1)
    door_code: str = ""

    @field_validator("door_code")
    @classmethod
    def _is_short(cls, value: str) -> str:
        if len(value) > 4:
            raise PydanticCustomError(UNQUOTED, "too long")
        return value


def test_a_flag_wins_over_the_file(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("flour: rye\nminutes: 40\n", encoding="utf-8")
    assert load_job_config(Baking, file, {"minutes": 50}) == Baking(flour="rye", minutes=50)


def test_no_file_and_an_empty_file_leave_the_defaults(tmp_path):
    empty = tmp_path / "job.yaml"
    empty.write_text("", encoding="utf-8")
    for file in (None, empty):
        assert load_job_config(Baking, file, {"flour": "rye"}) == Baking(flour="rye")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flour: rye\nminuets: 3\n", "minuets: unknown key; did you mean 'minutes'?"),
        ("minutes: 3\n", "flour: missing; give --flour or set it in the file of --config"),
        ("flour: rye\nminutes: none\n", "minutes: Input should be a valid integer"),
        ("flour: rye\nminutes: 0\n", "(got 0)"),
        ("- flour\n", "must be a mapping of option to value, not a list"),
        ("flour: [\n", "not valid YAML"),
    ],
)
def test_a_bad_file_is_named_with_its_key(text, expected, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(JobConfigError) as caught:
        load_job_config(Baking, file, {})
    assert str(caught.value).startswith(f"{file}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(JobConfigError, match=r"absent\.yaml: cannot be read"):
        load_job_config(Baking, tmp_path / "absent.yaml", {})


def test_a_bad_flag_is_named_as_a_flag():
    with pytest.raises(JobConfigError, match=r"^--minutes: .*\(got 0\)$"):
        load_job_config(Baking, None, {"flour": "rye", "minutes": 0})


def test_a_secret_is_not_quoted():
    with pytest.raises(JobConfigError) as caught:
        load_job_config(Baking, None, {"flour": "rye", "door_code": "13579"})
    assert str(caught.value) == "--door-code: too long"
