from pathlib import Path

import pytest

from benchmarks.pictures import DEMO_PICTURES, ROUTERDC_PICTURES, keep, main, prices_of, section

PICTURES = (*ROUTERDC_PICTURES, *DEMO_PICTURES)


def test_pictures_are_kept_in_both_themes(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    for picture in PICTURES:
        (report / f"{picture.name}.png").write_bytes(b"light " + picture.name.encode())
        (report / f"{picture.name}-dark.png").write_bytes(b"dark " + picture.name.encode())
    assert keep(report, PICTURES, tmp_path / "kept") == 2 * len(PICTURES)
    assert (tmp_path / "kept" / "query_map-dark.png").read_bytes() == b"dark query_map"
    assert len(list((tmp_path / "kept").iterdir())) == 2 * len(PICTURES)


def test_a_report_without_the_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        keep(tmp_path, PICTURES, tmp_path / "kept")


def test_the_section_shows_every_picture_by_the_readers_theme() -> None:
    text = section(Path("docs/pictures"), "by whom, when")
    for picture in PICTURES:
        assert f'srcset="docs/pictures/{picture.name}-dark.png"' in text
        assert f'src="docs/pictures/{picture.name}.png"' in text
        assert picture.caption in text
    assert text.endswith("by whom, when")


def test_every_model_of_the_demo_has_a_price() -> None:
    assert prices_of(["smollm2", "smollm2-math"]) == {"smollm2": 1.0, "smollm2-math": 2.0}


def test_without_data_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--readme", str(tmp_path / "README.md")]) == 2
    assert "set ROUTERDC_DATA" in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()
