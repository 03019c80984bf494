"""The console's page: whatever it refers to is served by the program itself, and nothing comes from elsewhere."""
import re
from urllib.parse import urljoin


def references(path, text):
    """Paths that a page or module loads; imports count from the module, all else from the page."""
    found = re.findall(r'(?:href|src)="([^"]+)"', text) + re.findall(r'from "([^"]+)"', text)
    return {urljoin(path, name) for name in found if not name.startswith("data:")}


def test_all_that_the_page_loads_is_there(client):
    waiting, seen = {"/"}, {}
    while waiting:
        path = waiting.pop()
        answer = client.get(path)
        assert answer.status == 200, path
        seen[path] = answer.headers["content-type"]
        waiting |= references(path, answer.body.decode()) - set(seen)
    assert sorted(name.rsplit("/", 1)[1] for name in seen) == [
        "", "app.js", "charts.js", "figures.js", "stream.js", "style.css"]
    assert seen["/"].startswith("text/html") and seen["/assets/app.js"].startswith("text/javascript")


def test_the_page_may_load_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "//" not in re.sub(r"data:[^\"]*", "", answer.body.decode())
