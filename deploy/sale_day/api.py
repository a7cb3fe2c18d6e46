"""The calls: repeated while a failure is temporary, and lists read page by page."""

import os
import pathlib
import sys
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

PROTO = pathlib.Path(__file__).resolve().parent.parent.parent / "proto"
sys.path.insert(0, str(PROTO))
pb, services = grpc.protos_and_services("flashsale/v1/flash_sale.proto")

DEADLINE_SECONDS = 10
TRIES_MAX = 5
# The most that a page may have.
PAGE_SIZE = 500
# A call that failed with one of these may be repeated as it is.
TEMPORARY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
DEFAULT_SERVER = os.environ.get("FLASHSALE_SERVER", "127.0.0.1:50051")


class Api:
    """The services of a server."""

    def __init__(self, channel):
        self.admin = services.AdminServiceStub(channel)
        self.sale = services.FlashSaleServiceStub(channel)


def call(method, request, tries=TRIES_MAX, deadline=DEADLINE_SECONDS):
    """Calls, and repeats the call while the failure is temporary."""
    for attempt in range(1, tries + 1):
        try:
            return method(request, timeout=deadline)
        except grpc.RpcError as error:
            if error.code() not in TEMPORARY or attempt == tries:
                raise
            time.sleep(0.2 * 2**attempt)


def pages(method, request):
    """Yields the pages of a list. Only a page without a next_page_token is the last: an empty page may have one."""
    request.page_size = PAGE_SIZE
    while True:
        page = call(method, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def entries(method, request, field):
    """Yields the entries of a list, of all its pages."""
    for page in pages(method, request):
        yield from getattr(page, field)


def refusal(error):
    """Returns the error's code, message, reason and metadata."""
    refused = {"code": error.code().name, "message": error.details(), "reason": None, "metadata": {}}
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            refused["reason"], refused["metadata"] = info.reason, dict(sorted(info.metadata.items()))
    return refused


def why(error):
    """Returns the error's message, reason and metadata, on one line."""
    refused = refusal(error)
    line = f"{refused['code']}: {refused['message']}"
    if refused["reason"]:
        metadata = "".join(f" {key}={value}" for key, value in refused["metadata"].items())
        line += f" [{refused['reason']}{metadata}]"
    return line
