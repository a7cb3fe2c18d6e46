"""Calls through a proxy: a purchase by each way in, what has to be refused, and load that counts what fails."""

import datetime
import http.client
import json
import pathlib
import sys
import threading
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from standardwebhooks.webhooks import Webhook

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "proto"))
pb, services = grpc.protos_and_services("flashsale/v1/flash_sale.proto")

GRPC_PORT, SHOP_PORT, WEBHOOKS_PORT = 50051, 8000, 8080
DEADLINE_SECONDS = 10
# HealthCheckResponse { status: SERVING }
SERVING = b"\x08\x01"
CALLERS = 8


def demand(holds, what):
    """Ends the program unless the demand holds."""
    if not holds:
        raise AssertionError(what)


def ask(address, port, method, path, body=None, headers=None, connection=None):
    """Sends a request with JSON, and returns the status and the answer's body."""
    connection = connection or http.client.HTTPConnection(address, port, timeout=DEADLINE_SECONDS)
    sent = json.dumps(body) if isinstance(body, dict) else body
    connection.request(method, path, sent, {"content-type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    return answer.status, answer.read()


class Proxy:
    """A proxy in front of servers and gateways, as its callers see it."""

    def __init__(self, address, webhook_secret):
        self.address, self._signer = address, Webhook(webhook_secret)
        self.channel = grpc.insecure_channel(f"{address}:{GRPC_PORT}")
        self.sale = services.FlashSaleServiceStub(self.channel)
        self.admin = services.AdminServiceStub(self.channel)
        # Without classes of its messages: an empty question is the one for "".
        self._health = self.channel.unary_unary("/grpc.health.v1.Health/Check")

    def is_ready(self):
        """Returns whether a server and a gateway answer through it."""
        try:
            status, _ = ask(self.address, SHOP_PORT, "GET", "/readyz")
            return status == 200 and self._health(b"", timeout=1) == SERVING
        except (OSError, http.client.HTTPException, grpc.RpcError):
            return False

    def create_product(self, name, stock):
        request = pb.CreateProductRequest(name=name, price_cents=1000, total_stock=stock, request_id=name)
        return self.admin.CreateProduct(request, timeout=DEADLINE_SECONDS).product.product_id

    def webhook(self, port, body):
        """Sends a signed webhook, and returns the status and the answer's body."""
        now, message = datetime.datetime.now(datetime.timezone.utc), str(uuid.uuid4())
        signature = self._signer.sign(message, now, body)
        headers = {"webhook-id": message, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
        return ask(self.address, port, "POST", "/api/payments/webhook", body, headers)

    def check(self, product):
        """Buys by gRPC and by JSON, pays by webhook, and asks for what has to be refused."""
        hold = self.sale.CreateHold(pb.CreateHoldRequest(product_id=product, qty=1), timeout=DEADLINE_SECONDS).hold
        order = self.sale.CreateOrder(pb.CreateOrderRequest(hold_id=hold.hold_id), timeout=DEADLINE_SECONDS).order
        paid = json.dumps({"idempotency_key": f"paid-{order.order_id}", "order_id": order.order_id, "status": "success"})
        status, _ = ask(self.address, WEBHOOKS_PORT, "POST", "/api/payments/webhook", paid)
        demand(status == 401, f"a webhook without a signature was answered {status}")
        status, answer = self.webhook(WEBHOOKS_PORT, paid)
        demand((status, json.loads(answer)["order_status"]) == (200, "paid"), f"a webhook was answered {status} {answer}")
        read = self.sale.GetOrder(pb.GetOrderRequest(order_id=order.order_id), timeout=DEADLINE_SECONDS).order
        demand(read.status == pb.ORDER_STATUS_PAID, "the order is to be paid")

        status, answer = ask(self.address, SHOP_PORT, "POST", "/api/holds", {"product_id": product, "qty": 1})
        demand(status == 201, f"a hold by JSON was answered {status} {answer}")
        status, answer = ask(self.address, SHOP_PORT, "POST", "/api/orders", {"hold_id": json.loads(answer)["hold_id"]})
        demand(status == 201, f"an order by JSON was answered {status} {answer}")
        for path in ("/api/products/1", "/api/holds", "/readyz", "/metrics", "/api/payments/../products/1"):
            status, answer = ask(self.address, WEBHOOKS_PORT, "GET", path)
            demand(status in (400, 404) and b"price" not in answer, f"{path} for the payment provider was answered {status}")
        self._check_refusal(product)

    def _check_refusal(self, product):
        """Asks for more than there is: the details of the error have to come through."""
        try:
            self.sale.CreateHold(pb.CreateHoldRequest(product_id=product, qty=2_000_000_000), timeout=DEADLINE_SECONDS)
        except grpc.RpcError as error:
            info = error_details_pb2.ErrorInfo()
            details = rpc_status.from_call(error)
            demand(details and details.details[0].Unpack(info), "an error came without its details")
            demand((info.reason, info.domain) == ("OUT_OF_STOCK", "flashsale"), f"the reason was {info.reason}")
            return
        raise AssertionError("more was sold than there is")


class Load:
    """Callers in a closed loop, without retries: holds by gRPC, and reads by JSON. Counts what fails."""

    def __init__(self, proxy, product):
        self._proxy, self._product, self._ends = proxy, product, threading.Event()
        self.calls, self.failures, self.slowest_seconds = 0, [], 0.0
        # What ended a caller: a repeat that failed as well.
        self.given_up = []
        self._lock = threading.Lock()
        kinds = (self._hold, self._read)
        self._callers = [threading.Thread(target=self._call, args=(kinds[number % 2],)) for number in range(CALLERS)]

    def __enter__(self):
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        for caller in self._callers:
            caller.join()

    def _call(self, kind):
        call = kind()
        while not self._ends.is_set():
            began = time.monotonic()
            try:
                failure = call()
            except grpc.RpcError as error:
                self.given_up.append(f"a repeat failed: {error.code().name}: {error.details()}")
                return
            took = time.monotonic() - began
            with self._lock:
                self.calls += 1
                self.slowest_seconds = max(self.slowest_seconds, took)
                if failure:
                    self.failures.append(failure)

    def _hold(self):
        # Its own channel, so that the callers' connections are more than one.
        options = [("grpc.use_local_subchannel_pool", 1)]
        sale = services.FlashSaleServiceStub(grpc.insecure_channel(f"{self._proxy.address}:{GRPC_PORT}", options))

        def call():
            request = pb.CreateHoldRequest(product_id=self._product, qty=1, request_id=str(uuid.uuid4()))
            try:
                sale.CreateHold(request, timeout=DEADLINE_SECONDS)
            except grpc.RpcError as error:
                # The caller's repeat, with the same request_id, has to succeed.
                sale.CreateHold(request, timeout=DEADLINE_SECONDS, wait_for_ready=True)
                return f"{error.code().name}: {error.details()}"
            return None

        return call

    def _read(self):
        connection = http.client.HTTPConnection(self._proxy.address, SHOP_PORT, timeout=DEADLINE_SECONDS)

        def call():
            try:
                status, answer = ask(None, None, "GET", f"/api/products/{self._product}", connection=connection)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                return f"HTTP: {error!r}"
            return None if status == 200 else f"HTTP {status}: {answer[:100]!r}"

        return call
