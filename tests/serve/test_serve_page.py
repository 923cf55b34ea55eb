"""The page is served whole, asks nothing of other hosts, and its script is one that a JavaScript engine takes."""

import re
import shutil
import subprocess

import pytest
from test_serve_api import app_of, call

from hfc.serve.api.page import FILES, FOLDER
from hfc.serve.security import PAGE
from hfc.serve.served import ServerSettings


def test_the_page_and_its_files_need_no_key():
    with app_of(settings=ServerSettings(api_keys=("k",))) as (app, _):
        html = call(app, "GET", "/")
        assert html.status_code == 200 and "default-src 'self'" in html.headers["content-security-policy"]
        for name in re.findall(r'(?:href|src)="([^":]+)"', html.text):
            assert call(app, "GET", f"/{name}").status_code == 200, name


def test_ids_agree_and_nothing_comes_from_elsewhere():
    html, script, style = ((FOLDER / name).read_text() for name in ("index.html", "page.js", "page.css"))
    for name in ("markdown.js", "chats.js"):
        assert "http" not in (FOLDER / name).read_text() and "innerHTML" not in (FOLDER / name).read_text()
    ids = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'at\("([^"]+)"\)', script)) <= ids
    assert not re.search(r"https?://|//[a-z]+\.[a-z]", html + style) and "http" not in script.replace("http status", "")
    assert "innerHTML" not in script, "what a model writes is text"


def test_files_of_others_come_with_their_version_and_licence():
    licences = (FOLDER / "vendor" / "LICENSES.txt").read_text()
    for name, version in (("marked", "18.2.1"), ("DOMPurify", "3.5.0")):
        assert f"{name} {version}" in licences
    assert set(FILES) | {"/"} == set(PAGE)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("name", ["page.js", "markdown.js", "chats.js"])
def test_the_script_parses(name):
    done = subprocess.run(
        ["node", "--input-type=module", "--check"],
        input=(FOLDER / name).read_text(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
