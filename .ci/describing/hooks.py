"""Hooks of schemathesis: they sign payment events, name what exists, and check what a schema can't say.

The secrets are in FLASHSALE_WEBHOOK_SECRETS and FLASHSALE_STRIPE_SECRETS.
"""

import base64
import hashlib
import hmac
import os
import time

import schemathesis
from requests.auth import AuthBase
from schemathesis import GenerationMode
from schemathesis.core.parameters import ParameterLocation

WEBHOOK, STRIPE = "/api/payments/webhook", "/api/payments/stripe"
WEBHOOK_KEY = base64.b64decode(os.environ["FLASHSALE_WEBHOOK_SECRETS"].removeprefix("whsec_"))
STRIPE_KEY = os.environ["FLASHSALE_STRIPE_SECRETS"].encode()
# Most random ids name nothing, so that a third of all calls is about the sample product and what was made of it.
NAMES = ("product_id", "hold_id", "order_id")
# An id that is out of these bounds is bad on purpose, and stays so.
IDS = range(1, 2**63)


class Signed(AuthBase):
    """Signs a request as it goes out: the signature is over the bytes of the body."""

    def __init__(self, path):
        self.path = path

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        now = str(int(time.time()))
        if self.path == STRIPE:
            digits = hmac.new(STRIPE_KEY, now.encode() + b"." + body, hashlib.sha256).hexdigest()
            request.headers["Stripe-Signature"] = f"t={now},v1={digits}"
        else:
            signed = hmac.new(WEBHOOK_KEY, b"msg_1." + now.encode() + b"." + body, hashlib.sha256).digest()
            request.headers["webhook-id"] = "msg_1"
            request.headers["webhook-timestamp"] = now
            request.headers["webhook-signature"] = "v1," + base64.b64encode(signed).decode()
        return request


def is_bad(case, place):
    """Returns whether a part of a request was made to break the description."""
    return case.meta is not None and case.meta.is_negative_at(place)


def as_written(value):
    """Writes integers as such: a schema takes 5.0 for one, and the gateway doesn't."""
    if isinstance(value, dict):
        return {name: as_written(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_written(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Signs the events whose headers aren't bad on purpose."""
    if not is_bad(case, ParameterLocation.BODY):
        case.body = as_written(case.body)
    if case.path in (WEBHOOK, STRIPE) and not is_bad(case, ParameterLocation.HEADER):
        kwargs["auth"] = Signed(case.path)


@schemathesis.hook
def map_body(context, body):
    """Lets a part of the ids name something."""
    if isinstance(body, dict):
        for name in NAMES:
            if type(body.get(name)) is int and body[name] in IDS and body[name] % 3 == 0:
                body[name] = 1 + body[name] % 7 if name != "product_id" else 1
    return body


@schemathesis.check
def what_is_described_is_taken(ctx, response, case):
    """Fails where a request is as described, and the answer says that it isn't."""
    if case.meta is None or case.meta.generation.mode == GenerationMode.NEGATIVE:
        return
    if response.status_code in (400, 401, 403, 405, 408, 413, 415):
        raise AssertionError(f"{response.status_code} for a request that is as described: {response.text}")
    if response.status_code == 422 and response.json()["reason"] == "INVALID_ARGUMENT":
        raise AssertionError(f"a request that is as described is refused: {response.text}")


@schemathesis.check
def answers_are_not_kept(ctx, response, case):
    """Fails where an answer may be kept, leads elsewhere, or can't be tried again when the description says so."""
    if response.headers.get("cache-control") != ["no-store"]:
        raise AssertionError(f"the answer may be kept: {dict(response.headers)}")
    if 300 <= response.status_code < 400 or response.status_code == 410:
        raise AssertionError(f"{response.status_code} isn't an answer of the gateway")
