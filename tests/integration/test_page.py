"""The page as files: what may run on it, how it is kept, and that all it loads is there."""

import re
from pathlib import Path

import httpx

import api.site.page

WEB = Path(api.site.page.__file__).parent / "web"


def test_the_page_runs_its_own_scripts_and_nothing_else(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page.text)


def test_all_that_the_page_loads_is_served(http: httpx.Client) -> None:
    seen: set[str] = set()
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        answer = http.get(path)
        assert answer.status_code == 200, path
        seen.add(path)
        found = re.findall(r"""(?:from |src=|href=)"(/(?:web/)[^"#]*)\"""", answer.text)
        waiting += [each for each in found if each not in seen and each not in waiting]
    assert seen == {"/", *(f"/web/{path.name}" for path in WEB.iterdir() if path.name != "index.html")}


def test_a_file_that_has_not_changed_is_not_sent_again(http: httpx.Client) -> None:
    for path in ("/", "/web/app.js"):
        first = http.get(path)
        assert first.headers["cache-control"] == "no-cache"
        again = http.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "content-security-policy" in again.headers
        assert http.head(path).status_code == 200


def test_nothing_but_the_page_is_served(http: httpx.Client) -> None:
    for path in ("/web/", "/web/none.js", "/web/../page.py", "/web/%2e%2e/page.py"):
        assert http.get(path).status_code == 404, path


def test_no_file_of_the_page_makes_html_of_text() -> None:
    for path in WEB.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text()), (
            path.name
        )
