#!/usr/bin/env python3
"""Buys units one by one, also while the server is restarted, and then asks for more than there is.

    purchase.py PRODUCT_ID WISHES ADDRESS…

An address is like 127.0.0.1:50051. Needs grpcio-tools and grpcio-status.
"""

import pathlib
import random
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "proto"))
pb, services = grpc.protos_and_services("flashsale/v1/flash_sale.proto")

# A call with all its repeats. A restart of the server has to fit in.
DEADLINE_SECONDS = 60
REST_SECONDS_MAX = 2
# UNKNOWN comes where an answer was cut off on its way. All of these may come after the call took effect, so a repeat
# has to have the same request_id.
TEMPORARY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNKNOWN)


def connect(addresses):
    """Opens a channel to all addresses. gRPC watches their health, and leaves out those that don't serve."""
    options = [
        # Balancing, health, and waiting for a server that is away, up to the deadline.
        ("grpc.service_config", (ROOT / "examples/service_config.json").read_text()),
        # Without it the calls would be addressed to the whole list, which is no host, and servers refuse them.
        ("grpc.default_authority", "flashsale"),
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # Otherwise gRPC waits up to two minutes before it connects again.
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    return grpc.insecure_channel("ipv4:" + ",".join(addresses), options)


def detail(error, kind):
    """Returns the first detail of this kind in the trailer grpc-status-details-bin, or None."""
    status = rpc_status.from_call(error)
    for packed in status.details if status else []:
        found = kind()
        if packed.Unpack(found):
            return found
    return None


def call(method, request):
    """Calls, and repeats the call while it may succeed a little later. The request has to say which wish it is."""
    deadline, rest_max = time.monotonic() + DEADLINE_SECONDS, 0.1
    while True:
        try:
            return method(request, timeout=deadline - time.monotonic())
        except grpc.RpcError as error:
            if error.code() not in TEMPORARY:
                raise
            # A random rest, so that callers who failed together don't come back together.
            rest = random.uniform(0, rest_max)
            if retry := detail(error, error_details_pb2.RetryInfo):
                rest += retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            if time.monotonic() + rest >= deadline:
                raise
        time.sleep(rest)
        rest_max = min(2 * rest_max, REST_SECONDS_MAX)


def main(product_id, wishes, *addresses):
    with connect(addresses) as channel:
        sale = services.FlashSaleServiceStub(channel)
        for _ in range(int(wishes)):
            # One request_id for each wish, made up once: all repeats have the same.
            request_id = str(uuid.uuid4())
            wish = pb.CreateHoldRequest(product_id=int(product_id), qty=1, request_id=request_id)
            hold = call(sale.CreateHold, wish).hold
            order = call(sale.CreateOrder, pb.CreateOrderRequest(hold_id=hold.hold_id, request_id=request_id)).order
            print(f"order {order.order_id} of {order.amount_cents} cents", flush=True)

        wish = pb.CreateHoldRequest(product_id=int(product_id), qty=1_000_000, request_id=str(uuid.uuid4()))
        try:
            print(f"hold {call(sale.CreateHold, wish).hold.hold_id}")
        except grpc.RpcError as error:
            # A refusal is known by its reason. The message is for people and may change.
            info = detail(error, error_details_pb2.ErrorInfo)
            if info is None or info.domain != "flashsale":
                raise
            if info.reason == "OUT_OF_STOCK":
                print(f"only {info.metadata['availableStock']} left")
            elif info.reason == "SALE_NOT_STARTED":
                print(f"come back at {info.metadata['startsAt']}")
            else:
                raise


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
