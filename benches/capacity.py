#!/usr/bin/env python3
"""Measures what a sale leaves behind: bytes a row on disk, in the binary log and in the log of the server.

    PATH=$PWD/target/venv/bin:$PATH
    benches/capacity.py --data FOLDER --holds 200000 --log FILE --pid PID

It puts a product on sale, makes holds with a buyer and a request_id, turns all of them into orders and pays these, at a
server that nobody else calls. After each step it prints what grew: the files of the tables and of the binary log in
the database's folder, the server's log file, and the memory of the server's process. Divide by the holds.

Exit code: 0 done, 1 a call failed.
"""

import argparse
import asyncio
import pathlib
import sys
import uuid

import grpc

PROTO = pathlib.Path(__file__).resolve().parent.parent / "proto"
sys.path.insert(0, str(PROTO))
pb, services = grpc.protos_and_services("flashsale/v1/flash_sale.proto")

TABLES = ("holds", "orders", "payment_webhooks")
SECONDS_PER_CALL_MAX = 10


def sizes(data, log, pid):
    """Returns bytes by what holds them."""
    found = {table: sum(file.stat().st_size for file in data.glob(f"*/{table}.ibd")) for table in TABLES}
    found["binary log"] = sum(file.stat().st_size for file in data.glob("*bin*.[0-9]*"))
    found["server's log"] = log.stat().st_size if log else 0
    status = pathlib.Path(f"/proc/{pid}/status").read_text() if pid else ""
    resident = [line for line in status.splitlines() if line.startswith("VmRSS")]
    found["server's memory"] = int(resident[0].split()[1]) * 1024 if resident else 0
    return found


async def each(callers, inputs, call):
    """Calls with each input, `callers` at a time, and returns the answers."""
    waiting, answers = iter(inputs), []

    async def caller():
        for one in waiting:
            answers.append(await call(one))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


async def sale(channel, callers, holds):
    """Yields the name of each step when it is done."""
    admin, shop = services.AdminServiceStub(channel), services.FlashSaleServiceStub(channel)
    payments = services.PaymentServiceStub(channel)
    run = uuid.uuid4().hex[:12]
    limit = {"timeout": SECONDS_PER_CALL_MAX}
    product = (
        await admin.CreateProduct(
            pb.CreateProductRequest(name=f"Capacity {run}", price_cents=9900, total_stock=holds, request_id=run), **limit
        )
    ).product

    async def hold(number):
        wish = str(uuid.uuid4())
        request = pb.CreateHoldRequest(
            product_id=product.product_id, qty=1, buyer_id=f"buyer-{number}@example.com", request_id=wish
        )
        return (await shop.CreateHold(request, **limit)).hold

    async def order(held):
        request = pb.CreateOrderRequest(hold_id=held.hold_id, request_id=str(uuid.uuid4()))
        return (await shop.CreateOrder(request, **limit)).order

    async def pay(ordered):
        request = pb.HandlePaymentWebhookRequest(
            idempotency_key=f"evt_{uuid.uuid4().hex}",
            payment_id=f"pi_{uuid.uuid4().hex[:24]}",
            order_id=ordered.order_id,
            status=pb.PAYMENT_STATUS_SUCCESS,
            amount_cents=ordered.amount_cents,
        )
        return await payments.HandlePaymentWebhook(request, **limit)

    yield "nothing"
    held = await each(callers, range(holds), hold)
    yield "a hold"
    ordered = await each(callers, held, order)
    yield "an order of it"
    await each(callers, ordered, pay)
    yield "its payment"


async def main(options):
    before = None
    async with grpc.aio.insecure_channel(options.server) as channel:
        async for step in sale(channel, options.callers, options.holds):
            now = sizes(options.data, options.log, options.pid)
            if before is not None:
                grown = {name: (now[name] - before[name]) / options.holds for name in now}
                print(step + ": " + ", ".join(f"{name} {bytes_:.0f}" for name, bytes_ in grown.items() if bytes_))
            before = now
    if options.pid:
        megabytes = before["server's memory"] // 2**20
        print(f"the server's memory at the end: {megabytes} MiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:50051", help="the gRPC address")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="the data folder of the database server")
    parser.add_argument("--log", type=pathlib.Path, help="the file that has the server's standard output")
    parser.add_argument("--pid", type=int, help="the server's process")
    parser.add_argument("--holds", type=int, default=200_000)
    parser.add_argument("--callers", type=int, default=256)
    options = parser.parse_args()
    try:
        asyncio.run(main(options))
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
