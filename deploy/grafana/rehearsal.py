#!/usr/bin/env python3
"""Plays a sale of some minutes at a shop on this machine, so that dashboard and alerts can be looked at.

    deploy/grafana/rehearsal.py [--shop HOST:PORT] [--server HOST:PORT] [--minutes 12] [--database-port PORT]

Start the shop with short times, and with a secret, so that webhooks are signed:

    export FLASHSALE_WEBHOOK_SECRETS=whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0
    FLASHSALE_HOLD_TTL=30s FLASHSALE_PAYMENT_DUE=90s deploy/up --watch

Buyers come by the gateway and by gRPC. They look, hold, order and pay, or go away; some come too early, want too much
or pay too late; the provider sends some events twice. The stock runs out, more arrives. With --database-port, and the
password of deploy/up's database in the environment variable MYSQL_PWD, somebody locks the product's row for some
seconds. It needs the packages of deploy/requirements.txt.
"""

import argparse
import asyncio
import concurrent.futures
import datetime
import http.client
import json
import pathlib
import random
import subprocess
import sys
import threading
import uuid

import grpc
from google.protobuf import field_mask_pb2
from standardwebhooks import Webhook

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from sale_day.api import DEFAULT_SERVER, Api, pb  # noqa: E402

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"
STRANGERS_SECRET = "whsec_c3RyYW5nZXItc3RyYW5nZXItc3RyYW5nZXIh"
PRICE_CENTS = 8900
STOCK = 6000
CALL_SECONDS_MAX = 10
CALLERS = 48
# How many buyers come a second in each tenth of the sale: the rush, then fewer, a second rush when more has arrived.
RUSH = (12, 60, 42, 30, 24, 18, 15, 34, 20, 12)


class Shop:
    """Calls the gateway and the server, each call in a thread of its own."""

    def __init__(self, options, channel):
        self.address, self.api = options.shop, Api(channel)
        self.threads = concurrent.futures.ThreadPoolExecutor(CALLERS)
        self.connections = threading.local()

    async def in_thread(self, work, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)

    def send(self, method, path, body, headers):
        """Makes one HTTP request, and returns status and answer. A connection that broke is made anew."""
        connection = getattr(self.connections, "one", None)
        if connection is None:
            host, _, port = self.address.rpartition(":")
            connection = self.connections.one = http.client.HTTPConnection(host, int(port), timeout=CALL_SECONDS_MAX)
        try:
            connection.request(method, path, body, {"content-type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            self.connections.one = None
            return 0, {}

    async def get(self, path):
        return await self.in_thread(self.send, "GET", path, None, {})

    async def post(self, path, **body):
        headers = {"idempotency-key": str(uuid.uuid4())}
        return await self.in_thread(self.send, "POST", path, json.dumps(body), headers)

    async def deliver(self, secret=SECRET, late=0, **event):
        """Delivers a payment event, signed some seconds ago."""
        body, message_id = json.dumps(event), f"msg_{uuid.uuid4().hex}"
        now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=late)
        headers = {
            "webhook-id": message_id, "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(secret).sign(message_id, now, body),
        }
        return await self.in_thread(self.send, "POST", "/api/payments/webhook", body, headers)

    async def rpc(self, method, request):
        """Calls the server, and returns the answer, or None where it was refused."""
        try:
            return await self.in_thread(lambda: method(request, timeout=CALL_SECONDS_MAX))
        except grpc.RpcError:
            return None


def one_in(count):
    return random.random() < 1 / count


async def pay(shop, order_id, amount_cents):
    """Plays the payment provider for one order."""
    key = f"evt_{uuid.uuid4().hex}"
    await asyncio.sleep(random.triangular(2, 45, 8))
    if one_in(9):
        await shop.deliver(idempotency_key=f"{key}-try", order_id=order_id, status="attempt_failed")
        await asyncio.sleep(random.uniform(3, 15))
    event = {"idempotency_key": key, "order_id": order_id, "status": "success", "amount_cents": amount_cents}
    if one_in(14):
        event["status"] = "failure"
    elif one_in(60):
        event["amount_cents"] -= 1
    elif one_in(40):
        await asyncio.sleep(170)
    await shop.deliver(**event)
    if one_in(12):
        await shop.deliver(**event)
    if one_in(90):
        await shop.deliver(**{**event, "idempotency_key": f"{key}-second"})


async def buy_by_gateway(shop, product_id):
    buyer_id = f"buyer-{random.randrange(3000)}"
    for _ in range(random.choice((1, 2, 3))):
        await shop.get(f"/api/products/{product_id}")
    qty = random.choice((1, 1, 1, 2, 2, 3))
    status, hold = await shop.post("/api/holds", product_id=product_id, qty=qty, buyer_id=buyer_id)
    if status != 201 or one_in(5):
        return
    await asyncio.sleep(random.triangular(1, 40, 5))
    status, order = await shop.post("/api/orders", hold_id=hold["hold_id"])
    if status == 201 and not one_in(8):
        await pay(shop, order["order_id"], qty * PRICE_CENTS)


async def buy_by_grpc(shop, product_id):
    sale = shop.api.sale
    wish = pb.CreateHoldRequest(
        product_id=product_id, qty=1, buyer_id=f"phone-{uuid.uuid4()}", request_id=str(uuid.uuid4()),
        expected_unit_price_cents=PRICE_CENTS - (100 if one_in(25) else 0),
    )
    answer = await shop.rpc(sale.CreateHold, wish)
    if one_in(10):
        await shop.rpc(sale.CreateHold, wish)
    if not answer:
        return
    await asyncio.sleep(random.triangular(1, 20, 4))
    hold_id = answer.hold.hold_id
    if one_in(6):
        await shop.rpc(sale.ReleaseHold, pb.ReleaseHoldRequest(hold_id=hold_id))
        return
    answer = await shop.rpc(sale.CreateOrder, pb.CreateOrderRequest(hold_id=hold_id))
    if answer:
        await pay(shop, answer.order.order_id, PRICE_CENTS)


async def come(shop, product_id, seconds):
    """Lets buyers come, more or fewer by the tenth of the sale."""
    buyers, loop = set(), asyncio.get_running_loop()
    began = loop.time()
    while (passed := loop.time() - began) < seconds:
        await asyncio.sleep(random.expovariate(RUSH[int(passed / seconds * len(RUSH))]))
        buy = buy_by_grpc if one_in(4) else buy_by_gateway
        buyer = asyncio.create_task(buy(shop, product_id))
        buyers.add(buyer)
        buyer.add_done_callback(buyers.discard)
    for buyer in buyers:
        buyer.cancel()


async def disturb(shop, product_id, seconds, database_port):
    """Does what goes wrong, and what an operator does, at fixed parts of the sale."""
    admin = shop.api.admin
    for _ in range(40):
        await asyncio.sleep(seconds / 80)
        stranger = {"idempotency_key": str(uuid.uuid4()), "order_id": 1, "status": "success"}
        if one_in(3):
            await shop.deliver(secret=STRANGERS_SECRET, **stranger)
        if one_in(6):
            await shop.deliver(late=3600, **stranger)
        if one_in(4):
            await shop.deliver(**{**stranger, "order_id": 10**12})
    if database_port:
        lock = f"BEGIN; SELECT id FROM products WHERE id = {product_id} FOR UPDATE; SELECT SLEEP(8);"
        client = ["mariadb", "-h127.0.0.1", f"-P{database_port}", "-uflashsale", "flashsale", "-e", lock]
        await shop.in_thread(lambda: subprocess.run(client, stdout=subprocess.DEVNULL, timeout=30, check=False))
    await asyncio.sleep(seconds / 6)
    await shop.rpc(admin.AdjustStock, pb.AdjustStockRequest(
        product_id=product_id, delta=1500, reason="second pallet", request_id=str(uuid.uuid4())))
    await asyncio.sleep(seconds / 10)
    listed = await shop.rpc(admin.ListPaymentExceptions, pb.ListPaymentExceptionsRequest(product_id=product_id))
    for exception in list(listed.exceptions)[::2] if listed else ():
        await shop.rpc(admin.ResolvePaymentException, pb.ResolvePaymentExceptionRequest(
            exception_id=exception.exception_id, note="refunded"))


async def play(options):
    with grpc.insecure_channel(options.server) as channel:
        shop, seconds = Shop(options, channel), options.minutes * 60
        product = pb.Product(name="Sneaker", price_cents=PRICE_CENTS, max_per_buyer=4)
        opens = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds / 12)
        product.starts_at.FromDatetime(opens.replace(tzinfo=None))
        created = shop.api.admin.CreateProduct(pb.CreateProductRequest(
            name=product.name, price_cents=product.price_cents, max_per_buyer=product.max_per_buyer,
            total_stock=STOCK, starts_at=product.starts_at, request_id=str(uuid.uuid4())))
        product_id = created.product.product_id
        print(f"product {product_id}: {options.minutes} minutes", flush=True)
        await asyncio.gather(
            come(shop, product_id, seconds), disturb(shop, product_id, seconds, options.database_port)
        )
        # The last seconds: paused, so that what is left over is refused.
        paused = pb.Product(product_id=product_id, paused=True)
        await shop.rpc(shop.api.admin.UpdateProduct, pb.UpdateProductRequest(
            product=paused, update_mask=field_mask_pb2.FieldMask(paths=["paused"])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shop", default="127.0.0.1:8000", help="host:port of the gateway")
    parser.add_argument("--server", default=DEFAULT_SERVER, help="host:port of the server")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--database-port", type=int, help="lock a row in the database there")
    asyncio.run(play(parser.parse_args()))


main()
