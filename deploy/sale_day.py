#!/usr/bin/env python3
"""What an operator does on sale day: put on sale, restock, pause, look, refund.

    python3 -m venv target/venv && target/venv/bin/pip install -r deploy/requirements.txt
    PATH=$PWD/target/venv/bin:$PATH
    deploy/sale_day.py put-on-sale "Sneaker" 9900 100 --max-per-buyer 2
    deploy/sale_day.py update 2 --price-cents 8900 --max-per-buyer none
    deploy/sale_day.py restock 2 50 "second pallet" --request-id pallet-2
    deploy/sale_day.py pause 2
    deploy/sale_day.py stats 2
    deploy/sale_day.py refunds
    deploy/sale_day.py resolve 1 "refunded as re_17"

It is a client of flashsale.v1.AdminService and nothing more. Every command may be repeated. `put-on-sale` and `restock`
are repeatable by their request id. Without --request-id the script makes one up, and prints it if the answer is lost:
the same command with that id tells what became of it.

Exit code: 0 done, 1 refused or failed, 2 wrong arguments.
"""

import argparse
import datetime
import os
import pathlib
import sys
import time
import uuid

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

PROTO = pathlib.Path(__file__).resolve().parent.parent / "proto"
sys.path.insert(0, str(PROTO))
pb, services = grpc.protos_and_services("flashsale/v1/flash_sale.proto")

DEADLINE_SECONDS = 10
TRIES_MAX = 5
PAGE_SIZE = 1000
# A call that failed with one of these may be repeated as it is.
TEMPORARY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)


def call(method, request):
    """Calls, and repeats the call while the failure is temporary."""
    for attempt in range(1, TRIES_MAX + 1):
        try:
            return method(request, timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            if error.code() not in TEMPORARY or attempt == TRIES_MAX:
                raise
            time.sleep(0.2 * 2**attempt)


def why(error):
    """Returns the error's message, reason and metadata, on one line."""
    line = f"{error.code().name}: {error.details()}"
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            metadata = "".join(f" {key}={value}" for key, value in sorted(info.metadata.items()))
            line += f" [{info.reason}{metadata}]"
    return line


def or_none(kind):
    """Returns a parser that takes "none" for a value that is to be cleared."""

    def parse(text):
        return None if text == "none" else kind(text)

    parse.__name__ = kind.__name__
    return parse


def moment(text):
    """Parses a time such as 2025-11-28T09:00:00Z. A time without a zone is refused."""
    value = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError("needs a time zone, such as Z or +01:00")
    return value


def line_of(product):
    state = "paused" if product.paused else "not paused"
    limit = f", {product.max_per_buyer} for each buyer" if product.HasField("max_per_buyer") else ""
    starts = f", from {product.starts_at.ToJsonString()}" if product.HasField("starts_at") else ""
    ends = f", until {product.ends_at.ToJsonString()}" if product.HasField("ends_at") else ""
    return (
        f"product {product.product_id} {product.name!r}: {product.available_stock} of {product.total_stock} available,"
        f" {product.price_cents} cents, {state}{limit}{starts}{ends}"
    )


def put_on_sale(admin, options):
    request = pb.CreateProductRequest(
        name=options.name,
        price_cents=options.price_cents,
        total_stock=options.stock,
        max_per_buyer=options.max_per_buyer,
        request_id=options.request_id,
    )
    for field in ("starts_at", "ends_at"):
        if getattr(options, field):
            getattr(request, field).FromDatetime(getattr(options, field))
    print(line_of(call(admin.CreateProduct, request).product))


def update(admin, options):
    """Changes only the fields that are given. Holds made before keep their price."""
    fields = ("name", "price_cents", "max_per_buyer", "starts_at", "ends_at")
    paths = [field for field in fields if hasattr(options, field)]
    if not paths:
        raise ValueError("nothing to change: name a price, a limit, a time or a name")
    product = pb.Product(product_id=options.product)
    for field in paths:
        value = getattr(options, field)
        if isinstance(value, datetime.datetime):
            getattr(product, field).FromDatetime(value)
        elif value is not None:
            setattr(product, field, value)
    request = pb.UpdateProductRequest(product=product, update_mask=FieldMask(paths=paths))
    print(line_of(call(admin.UpdateProduct, request).product))


def restock(admin, options):
    request = pb.AdjustStockRequest(
        product_id=options.product, delta=options.delta, reason=options.reason, request_id=options.request_id
    )
    print(line_of(call(admin.AdjustStock, request).product))


def pause(admin, options):
    """Pauses or resumes the sale. Holds made before can still become orders, and orders can still be paid."""
    product = pb.Product(product_id=options.product, paused=options.command == "pause")
    request = pb.UpdateProductRequest(product=product, update_mask=FieldMask(paths=["paused"]))
    print(line_of(call(admin.UpdateProduct, request).product))


def stats(admin, options):
    books = call(admin.GetSaleStats, pb.GetSaleStatsRequest(product_id=options.product))
    print(f"available {books.available_stock} of {books.total_stock}")
    print(f"held      {books.held_stock} in {books.holds_active} holds")
    print(f"owed for  {books.pending_stock} in {books.orders_pending} orders")
    print(f"paid      {books.paid_stock} in {books.orders_paid} orders")
    print(f"over      {books.holds_expired} holds expired, {books.holds_cancelled} cancelled,"
          f" {books.orders_cancelled} orders cancelled")


def refunds(admin, options):
    """Prints all pages, newest first."""
    request = pb.ListPaymentExceptionsRequest(
        page_size=PAGE_SIZE, product_id=options.product, include_resolved=options.all
    )
    while True:
        page = call(admin.ListPaymentExceptions, request)
        for exception in page.exceptions:
            kind = pb.PaymentExceptionKind.Name(exception.kind).removeprefix("PAYMENT_EXCEPTION_KIND_")
            amount = f"{exception.amount_cents} cents" if exception.HasField("amount_cents") else "amount not told"
            done = f", resolved: {exception.note}" if exception.HasField("resolved_at") else ""
            print(f"exception {exception.exception_id}: {kind}, order {exception.order_id}, {amount},"
                  f" event {exception.idempotency_key!r}{done}")
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def resolve(admin, options):
    request = pb.ResolvePaymentExceptionRequest(exception_id=options.exception, note=options.note)
    exception = call(admin.ResolvePaymentException, request).exception
    if exception.note != options.note:
        sys.exit(f"exception {exception.exception_id} was resolved before: {exception.note}")
    print(f"exception {exception.exception_id} is resolved: {exception.note}")


def parser():
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    server = os.environ.get("FLASHSALE_SERVER", "127.0.0.1:50051")
    root.add_argument("--server", default=server, help=f"host:port, also by FLASHSALE_SERVER (default {server})")
    commands = root.add_subparsers(dest="command", required=True)

    def command(name, run, *arguments):
        sub = commands.add_parser(name)
        sub.set_defaults(run=run)
        for argument in arguments:
            sub.add_argument(argument, type=str if argument in ("name", "reason", "note") else int)
        return sub

    create = command("put-on-sale", put_on_sale, "name", "price_cents", "stock")
    create.add_argument("--max-per-buyer", type=int)
    create.add_argument("--starts-at", type=moment)
    create.add_argument("--ends-at", type=moment)
    change = command("update", update, "product")
    for option, kind in (
        ("--name", str),
        ("--price-cents", int),
        ("--max-per-buyer", or_none(int)),
        ("--starts-at", or_none(moment)),
        ("--ends-at", or_none(moment)),
    ):
        text = "or none" if kind not in (str, int) else None
        change.add_argument(option, type=kind, default=argparse.SUPPRESS, help=text)
    adjust = command("restock", restock, "product", "delta", "reason")
    for repeatable in (create, adjust):
        repeatable.add_argument("--request-id", default=str(uuid.uuid4()))
    command("pause", pause, "product")
    command("resume", pause, "product")
    command("stats", stats, "product")
    listing = command("refunds", refunds)
    listing.add_argument("--product", type=int)
    listing.add_argument("--all", action="store_true", help="also those that are resolved")
    command("resolve", resolve, "exception", "note")
    return root


def main():
    options = parser().parse_args()
    with grpc.insecure_channel(options.server) as channel:
        try:
            options.run(services.AdminServiceStub(channel), options)
        except grpc.RpcError as error:
            again = ""
            if error.code() in TEMPORARY and hasattr(options, "request_id"):
                again = f"\nRun it again with --request-id {options.request_id}"
            sys.exit(why(error) + again)
        except ValueError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
