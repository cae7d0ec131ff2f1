"""`glyphq inspect`: what it prints, what its page holds, and that names cannot act."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from glyphq import samples
from glyphq.cli import main

SCANS = {sample.filename: sample.png for sample in samples.draw(4, seed=2)}
Run = Callable[..., tuple[int, str, str]]


class Page(HTMLParser):
    """The elements and the text of a page, and where its pictures come from."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """In an empty folder, on the engine that starts soonest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLYPHQ_ENGINE", "torch")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["inspect", *arguments])
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four scans, a blank, a damaged one and litter."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, png in SCANS.items():
        (folder / name).write_bytes(png)
    Image.new("L", (40, 40), 230).save(folder / "blank.png")
    (folder / "cut.png").write_bytes(SCANS["scan-00000.png"][:-20])
    (folder / ".DS_Store").write_bytes(b"litter")
    return folder


def page(name: str = "inspect.html") -> Page:
    return Page(Path(name).read_text())


def test_each_scan_is_a_line_with_the_two_likeliest_characters(run: Run, folder: Path) -> None:
    code, out, err = run("scans", "--charset", "digits", "--charset", "*.nothing=letters")
    assert (code, err) == (0, "")
    blank, cut, *classified = out.splitlines()
    assert blank == "scans/blank.png  blank"
    assert cut.startswith("scans/cut.png  rejected: The PNG image is truncated or damaged")
    for line, name in zip(classified, SCANS, strict=True):
        path, label, confidence, second, less = line.split()
        assert path == f"scans/{name}"
        assert label in "0123456789"
        assert second in "0123456789"
        assert 1 >= float(confidence) >= float(less) >= 0


def test_the_page_holds_the_steps_of_each_scan_and_needs_nothing_beside_it(run: Run, folder: Path) -> None:
    run("scans", "-o", "page.html")
    written = page("page.html")
    assert written.tags.count("section") == 6
    assert written.text.count("28x28") == 4
    assert written.text.count("evenly lit") >= 4
    assert "damaged_image" in written.text
    assert all(source.startswith("data:image/png;base64,") for source in written.images)
    assert "http" not in Path("page.html").read_text().replace("http-equiv", "")


def test_a_zip_is_read_as_a_job_reads_it(run: Run) -> None:
    with zipfile.ZipFile("scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, png in {**SCANS, "__MACOSX/._a.png": b"litter", "empty.png": b""}.items():
            archive.writestr(name, png)
    code, out, err = run("scans.zip", "--limit", "2")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, list(SCANS)[:2])
    assert err == "warning: there are more scans; these are the first 2. --limit takes more.\n"
    assert page().tags.count("section") == 2
    assert run("scans.zip")[1].splitlines()[-1] == "empty.png  rejected: The file has no bytes."


def test_the_polarity_can_be_said(run: Run, tmp_path: Path) -> None:
    dark = Image.new("L", (60, 60), 230)
    dark.paste(20, (25, 10, 33, 50))
    dark.save(tmp_path / "a.png")
    run("a.png", "--invert", "no", "-o", "no.html")
    run("a.png", "-o", "auto.html")
    assert page("no.html").images == page("auto.html").images
    run("a.png", "--invert", "yes", "-o", "yes.html")
    assert page("yes.html").images[-1] != page("no.html").images[-1]


def test_a_large_scan_is_shown_by_its_steps_alone(run: Run, tmp_path: Path) -> None:
    Image.effect_noise((900, 900), 60).save(tmp_path / "a.png")
    run("a.png")
    assert (tmp_path / "inspect.html").stat().st_size < 200_000


@pytest.mark.parametrize(
    "name", ['<script>alert("1")<', 'a" onerror="b', "a\n\x1b[2Jb", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_a_hostile_name_is_text_and_no_more(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.png").write_bytes(SCANS["scan-00000.png"])
    code, out, _ = run(f"{name}.png")
    assert code == 0
    assert out.count("\n") == 1
    assert "\x1b" not in out
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    written = page()
    assert f"{shown}.png" in written.text
    assert "script" not in written.tags
    assert "\x1b" not in written.text


def test_a_folder_without_files_and_a_zip_that_is_cut_are_errors(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("empty") == (1, "", "error: There are no files in empty.\n")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    code, _, err = run("cut.zip")
    assert code == 1
    assert err.startswith("error: The zip has no end record")
    assert not (tmp_path / "inspect.html").exists()


def test_options_are_checked(run: Run, folder: Path) -> None:
    assert run("scans", "--charset", "?")[0] == 2
    assert run("scans", "--filename-encoding", "klingon")[0] == 2
    assert run("nowhere.png")[0] == 2


def test_without_the_extra_it_says_what_is_missing_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(SCANS["scan-00000.png"])
    program = "import sys; sys.modules['cv2'] = None; from glyphq.cli import main; main(['inspect', sys.argv[1]])"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.png"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: Inspecting needs cv2; in a clone: pip install -e '.[worker]'.\n"
