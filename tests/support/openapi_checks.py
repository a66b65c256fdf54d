"""What schemathesis looks at in each answer; it loads this file by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

from typing import Any

import schemathesis

REFUSALS = (503, 504)
"""Nothing can serve this now, or not in the time that was asked for: answers of a server that is well."""


@schemathesis.check
def no_fault_of_the_server(context: Any, response: Any, case: Any) -> None:
    """No 500, nor any other that is not a refusal; every refusal and error is ours."""
    status = response.status_code
    assert status < 500 or status in REFUSALS, f"{status}: {response.text[:500]}"
    if status >= 400:
        body = response.json()
        assert "error" in body, f"{status} without a word about it: {response.text[:500]}"
