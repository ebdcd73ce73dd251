"""Whether the hub answers, and with which endpoint and token: asked through the real client, once, in a few seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

from modelgraft.doctor import child
from modelgraft.doctor.row import Row
from modelgraft.errors import ModelgraftError
from modelgraft.network import check_proxies

SECONDS: Final = 20.0
REPO: Final = "timm/resnet18.a1_in1k"
"""What is asked for: any answer about it shows that the hub is there."""

_CODE: Final = f"""
import os
import huggingface_hub
from huggingface_hub import constants, errors, get_token
token = get_token()
source = next((name for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(name)), "hf auth login")
say(version=huggingface_hub.__version__, endpoint=constants.ENDPOINT, offline=constants.is_offline_mode())
say(token=source if token else None)
try:
    from modelgraft.network import check_token
    check_token(token)
except Exception as error:
    say(token_fault=str(error))
if not constants.is_offline_mode():
    def chain(error):
        names = []
        while error is not None and len(names) < 9:
            names += [kind.__name__ for kind in type(error).__mro__]
            error = error.__cause__ or error.__context__
        return names
    def hidden(text):
        return " ".join((text.replace(token, "***") if token else text).split())[:300]
    try:
        huggingface_hub.HfApi().model_info({REPO!r}, timeout=5)
        say(status=200)
    except Exception as error:
        response = getattr(error, "response", None)
        said = getattr(error, "server_message", None) or str(error)
        say(status=getattr(response, "status_code", None), kinds=chain(error))
        say(error=type(error).__name__ + ": " + hidden(str(error)), server=hidden(said))
"""


def rows() -> Iterator[Row]:
    """Rows ``hub`` and ``hub token``."""
    try:
        check_proxies()
    except ModelgraftError as error:
        yield Row("hub", "fail", str(error), "pip install socksio, or unset the proxy")
        return
    answer = child.run(_CODE, SECONDS)
    facts = answer.facts
    if "endpoint" not in facts:
        cure = "pip install --force-reinstall huggingface_hub"
        yield Row("hub", "fail", f"huggingface_hub cannot be used: {answer.died}", cure)
        return
    yield hub_row(facts, answer.died)
    yield token_row(facts)


def hub_row(facts: dict[str, Any], died: str | None = None) -> Row:
    """Whether it answers, from what the child said."""
    where = facts["endpoint"]
    status = facts.get("status")
    wait = "wait and try again (https://status.huggingface.co)"
    reach = (
        "check the network, HF_ENDPOINT, HTTPS_PROXY"
        + ("" if os.environ.get("HTTPS_PROXY") else " (not set)")
        + "; HF_HUB_OFFLINE=1 works with what is cached"
    )
    if facts["offline"]:
        return Row("hub", "skip", f"HF_HUB_OFFLINE is set, so {where} is not asked; what is cached can be used")
    if "status" not in facts:
        return Row("hub", "fail", f"{where} did not answer ({died})", reach)
    if status is None:
        kinds = facts.get("kinds", [])
        why = (
            "does not answer in 5 s"
            if any("Timeout" in kind for kind in kinds)
            else "cannot be reached"
            if any(kind in ("ConnectError", "NetworkError", "ProxyError", "ConnectionError") for kind in kinds)
            else "gave no usable answer"
        )
        return Row("hub", "fail", f"{where} {why} ({facts['error']})", reach)
    if status == 200:
        return Row("hub", "ok", f"{where} answers")
    if status == 401 and facts.get("token"):  # a good token gets 404 where there is nothing, so it is the token
        why = f"{where} refuses the token from {facts['token']} ({facts['server']})"
        return Row("hub", "fail", why, "'hf auth login' with a new token; unset HF_TOKEN if that is the old one")
    if status in (401, 403, 404):  # without a token the hub says 401 of what does not exist, too
        return Row("hub", "ok", f"{where} answers (it has no {REPO} for us: a mirror, or one that asks for a login)")
    if status == 429:
        return Row("hub", "warn", f"{where} answers that there were too many requests (429)", "wait; hf auth login")
    return Row("hub", "fail", f"{where} answers with an error ({status}): {facts['error']}", wait)


def token_row(facts: dict[str, Any]) -> Row:
    """Whether there is a token; never what it is."""
    if facts.get("token_fault"):
        return Row("hub token", "fail", facts["token_fault"], "'hf auth login' with a new token, or unset HF_TOKEN")
    if facts.get("token"):
        return Row("hub token", "ok", f"there is one (from {facts['token']})")
    return Row("hub token", "ok", "none; only gated and private models need one ('hf auth login')")
