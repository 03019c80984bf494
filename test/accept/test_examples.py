"""Every example is whole: its configuration passes the check, and a page says how to run it. What the guides show passes it too."""
import re

import pytest

from support import server as program
from support.example import FOLDER

EXAMPLES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
GUIDES = sorted((FOLDER.parent / "docs/guide").glob("*.md"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_configuration_passes_the_check(name):
    checked = program.run("config", "check", FOLDER / name / "sluice.yaml")
    assert checked.returncode == 0, checked.stderr + checked.stdout


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_page_says_how_to_run_it(name):
    page = (FOLDER / name / "README.md").read_text()
    assert f"sluice serve --config examples/{name}/sluice.yaml" in page or "make demo" in page


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_what_a_guide_shows_passes_the_check(guide, tmp_path):
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.S)):
        shown = tmp_path / f"{number}.yaml"
        shown.write_text(block)
        checked = program.run("config", "check", shown)
        assert checked.returncode == 0, block + checked.stderr + checked.stdout
