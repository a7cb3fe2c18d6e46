"""Calls through a proxy: a purchase by each way in, what has to be refused, and load that counts what fails."""

import datetime
import http.client
import json
import pathlib
import ssl
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

GRPC_PORT, ADMIN_PORT, SHOP_PORT, WEBHOOKS_PORT = 50051, 50052, 8000, 8080
DEADLINE_SECONDS = 10
# HealthCheckResponse { status: SERVING }
SERVING = b"\x08\x01"
CALLERS = 8
# After so many calls a caller makes a new connection.
CALLS_A_CHANNEL = 25


def demand(holds, what):
    """Ends the program unless the demand holds."""
    if not holds:
        raise AssertionError(what)


def refused(call, code, what):
    """Demands that a gRPC call is refused with a code."""
    try:
        call()
    except grpc.RpcError as error:
        demand(error.code() == code, f"{what} was answered {error.code()}: {error.details()}")
        return
    raise AssertionError(f"{what} was answered OK")


class Proxy:
    """A proxy in front of servers and gateways, as its callers see it, and a server, as its operators do."""

    def __init__(self, name, server, secrets, tokens):
        """Takes the names by which certificates know the proxy and the server, secrets of the shop, and callers' tokens."""
        self.name, self._server, self._ca, self._tokens = name, server, secrets["ca"], tokens
        self._tls, self._signer = ssl.create_default_context(cadata=self._ca), Webhook(secrets["webhook_secrets"].strip())
        self._buyer = {"authorization": f"Bearer {tokens['checkout']}"}
        self.sale = services.FlashSaleServiceStub(self.channel(name, GRPC_PORT, "checkout"))
        self.admin = services.AdminServiceStub(self.channel(server, ADMIN_PORT, "operator"))
        # Without classes of its messages: an empty question is the one for "". Everybody may ask it.
        self._health = self.channel(name, GRPC_PORT).unary_unary("/grpc.health.v1.Health/Check")

    def channel(self, host, port, caller=None, options=()):
        """Opens a channel with TLS, and with a caller's token if there is one."""
        credentials = grpc.ssl_channel_credentials(self._ca.encode())
        if caller:
            token = grpc.access_token_call_credentials(self._tokens[caller])
            credentials = grpc.composite_channel_credentials(credentials, token)
        return grpc.secure_channel(f"{host}:{port}", credentials, [("grpc.enable_http_proxy", 0), *options])

    def connection(self, port):
        """Returns a connection for requests to a port of the proxy, not yet made."""
        return http.client.HTTPSConnection(self.name, port, timeout=DEADLINE_SECONDS, context=self._tls)

    def ask(self, port, method, path, body=None, headers=None, connection=None):
        """Sends a request with JSON, and returns the status and the answer's body."""
        connection = connection or self.connection(port)
        sent = json.dumps(body) if isinstance(body, dict) else body
        connection.request(method, path, sent, {"content-type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def shop(self, method, path, body=None, connection=None):
        """Asks one of the shop's routes, as the shop."""
        return self.ask(SHOP_PORT, method, path, body, self._buyer, connection)

    def is_ready(self):
        """Returns whether a server and a gateway answer through it."""
        try:
            status, _ = self.ask(SHOP_PORT, "GET", "/readyz")
            return status == 200 and self._health(b"", timeout=1) == SERVING
        except (OSError, http.client.HTTPException, grpc.RpcError):
            return False

    def create_product(self, name, stock):
        request = pb.CreateProductRequest(name=name, price_cents=1000, total_stock=stock, request_id=name)
        return self.admin.CreateProduct(request, timeout=DEADLINE_SECONDS).product.product_id

    def webhook(self, body, connection=None):
        """Sends a signed webhook, and returns the status and the answer's body."""
        now, message = datetime.datetime.now(datetime.timezone.utc), str(uuid.uuid4())
        signature = self._signer.sign(message, now, body)
        headers = {"webhook-id": message, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
        return self.ask(WEBHOOKS_PORT, "POST", "/api/payments/webhook", body, headers, connection)

    def check(self, product):
        """Buys by gRPC and by JSON, pays by webhook, asks for what has to be refused, and returns the payment's event."""
        hold = self.sale.CreateHold(pb.CreateHoldRequest(product_id=product, qty=1), timeout=DEADLINE_SECONDS).hold
        order = self.sale.CreateOrder(pb.CreateOrderRequest(hold_id=hold.hold_id), timeout=DEADLINE_SECONDS).order
        paid = json.dumps({"idempotency_key": f"paid-{order.order_id}", "order_id": order.order_id, "status": "success"})
        status, _ = self.ask(WEBHOOKS_PORT, "POST", "/api/payments/webhook", paid)
        demand(status == 401, f"a webhook without a signature was answered {status}")
        status, answer = self.webhook(paid)
        demand((status, json.loads(answer)["order_status"]) == (200, "paid"), f"a webhook was answered {status} {answer}")
        read = self.sale.GetOrder(pb.GetOrderRequest(order_id=order.order_id), timeout=DEADLINE_SECONDS).order
        demand(read.status == pb.ORDER_STATUS_PAID, "the order is to be paid")

        status, answer = self.shop("POST", "/api/holds", {"product_id": product, "qty": 1})
        demand(status == 201, f"a hold by JSON was answered {status} {answer}")
        status, answer = self.shop("POST", "/api/orders", {"hold_id": json.loads(answer)["hold_id"]})
        demand(status == 201, f"an order by JSON was answered {status} {answer}")
        for path in ("/api/products/1", "/api/holds", "/readyz", "/metrics", "/api/payments/../products/1"):
            status, answer = self.ask(WEBHOOKS_PORT, "GET", path)
            demand(status in (400, 404) and b"price" not in answer, f"{path} for the payment provider was answered {status}")
        self._check_refusal(product)
        self._check_strangers(product)
        return paid

    def _check_strangers(self, product):
        """Calls as nobody, as somebody else, and where nobody is to be served."""
        read, hold = pb.GetProductRequest(product_id=product), pb.CreateHoldRequest(product_id=product, qty=1)
        create = pb.CreateProductRequest(name="x", price_cents=1, total_stock=1)
        nobody = self.channel(self.name, GRPC_PORT)
        for what, stub, request in (("a read", "GetProduct", read), ("a hold", "CreateHold", hold)):
            call = getattr(services.FlashSaleServiceStub(nobody), stub)
            refused(lambda: call(request, timeout=DEADLINE_SECONDS), grpc.StatusCode.UNAUTHENTICATED, f"{what} of nobody")
        viewer = services.AdminServiceStub(self.channel(self._server, ADMIN_PORT, "viewer"))
        refused(
            lambda: viewer.CreateProduct(create, timeout=DEADLINE_SECONDS),
            grpc.StatusCode.PERMISSION_DENIED,
            "a product made by a viewer",
        )
        through = services.AdminServiceStub(self.channel(self.name, GRPC_PORT, "operator"))
        refused(
            lambda: through.CreateProduct(create, timeout=DEADLINE_SECONDS),
            grpc.StatusCode.UNIMPLEMENTED,
            "an operator through the proxy",
        )
        for path, body in ((f"/api/products/{product}", None), ("/api/holds", {"product_id": product, "qty": 1})):
            status, answer = self.ask(SHOP_PORT, "POST" if body else "GET", path, body)
            demand(status == 401, f"{path} without a token was answered {status} {answer}")
        status, _ = self.ask(SHOP_PORT, "POST", "/api/payments/webhook", "{}")
        demand(status == 404, f"a webhook at the shop's port was answered {status}")
        plain = grpc.insecure_channel(f"{self.name}:{GRPC_PORT}", [("grpc.enable_http_proxy", 0)])
        refused(
            lambda: services.FlashSaleServiceStub(plain).GetProduct(read, timeout=DEADLINE_SECONDS),
            grpc.StatusCode.UNAVAILABLE,
            "a call in plain text",
        )

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
    """Callers in a closed loop, without retries: holds by gRPC, reads by JSON, and one payment's event again and again.

    Counts what fails.
    """

    def __init__(self, proxy, product, paid):
        self._proxy, self._product, self._paid, self._ends = proxy, product, paid, threading.Event()
        self.calls, self.failures, self.slowest_seconds = 0, [], 0.0
        # What ended a caller: a repeat that failed as well.
        self.given_up = []
        self._lock = threading.Lock()
        kinds = (self._hold, self._read, self._pay)
        self._callers = [threading.Thread(target=self._call, args=(kinds[n % len(kinds)],)) for n in range(CALLERS)]

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
        # Its own channel, so that the callers' connections are more than one. A new one from time to time: a proxy that
        # passes connections on sends the old one's calls to the same server for as long as it lives.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel, left = None, 0

        def call():
            nonlocal channel, left
            if not left:
                if channel:
                    channel.close()
                channel, left = self._proxy.channel(self._proxy.name, GRPC_PORT, "checkout", options), CALLS_A_CHANNEL
            left -= 1
            sale = services.FlashSaleServiceStub(channel)
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
        return self._asking(SHOP_PORT, lambda way: self._proxy.shop("GET", f"/api/products/{self._product}", connection=way))

    def _pay(self):
        return self._asking(WEBHOOKS_PORT, lambda way: self._proxy.webhook(self._paid, way))

    def _asking(self, port, ask):
        """Returns a call by a connection to a port that is used again."""
        connection = self._proxy.connection(port)

        def call():
            try:
                status, answer = ask(connection)
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                return f"HTTP: {error!r}"
            return None if status == 200 else f"HTTP {status}: {answer[:100]!r}"

        return call
