"""docs/amqp-conformance.md is of these tests."""
import pathlib

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/amqp-conformance.md"


def rule_of(item):
    rule = item.callspec.params.get("rule") if hasattr(item, "callspec") else None
    return rule.text if rule is not None else (item.obj.__doc__ or "").strip().splitlines()[0]


def test_each_rule_is_on_the_page(request):
    """Run scripts/amqp-conformance when this fails."""
    page = PAGE.read_text()
    missing = [rule for item in request.session.items if item.get_closest_marker("section")
               if f"| {(rule := rule_of(item))} |" not in page]
    assert not missing, missing
