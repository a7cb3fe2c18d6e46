"""The commands. Each takes the services, the output and the options, and prints what it did or found."""

import datetime

from google.protobuf.field_mask_pb2 import FieldMask

from sale_day.api import call, entries, pb
from sale_day.show import clean, money, optional, order_line, product_line, when, word

CHANGEABLE = ("name", "price_cents", "max_per_buyer", "starts_at", "ends_at")


class Failed(Exception):
    """What the server did not refuse, but a person has to know."""


def products(api, out, options):
    request = pb.ListProductsRequest(on_sale=True if options.on_sale else None)

    def row(product):
        state = "paused" if product.paused else ""
        return (product.product_id, clean(product.name), product.price_cents, product.available_stock,
                product.total_stock, optional(product, "max_per_buyer"), when(product, "starts_at"),
                when(product, "ends_at"), state)

    columns = ("#product", "name", "#cents", "#available", "#of", "#for each", "from", "until", "state")
    out.table("Products", columns, entries(api.admin.ListProducts, request, "products"), row, "no products")


def put_on_sale(api, out, options):
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
    product = call(api.admin.CreateProduct, request).product
    out.one(product, product_line(product))


def update(api, out, options):
    """Changes only the fields that are given. Holds made before keep their price."""
    paths = [field for field in CHANGEABLE if hasattr(options, field)]
    if not paths:
        raise Failed("nothing to change: name a price, a limit, a time or a name")
    product = pb.Product(product_id=options.product)
    for field in paths:
        value = getattr(options, field)
        if isinstance(value, datetime.datetime):
            getattr(product, field).FromDatetime(value)
        elif value is not None:
            setattr(product, field, value)
    change(api, out, product, paths)


def pause(api, out, options):
    """Pauses or resumes the sale. Holds made before can still become orders, and orders can still be paid."""
    change(api, out, pb.Product(product_id=options.product, paused=options.command == "pause"), ["paused"])


def change(api, out, product, paths):
    request = pb.UpdateProductRequest(product=product, update_mask=FieldMask(paths=paths))
    product = call(api.admin.UpdateProduct, request).product
    out.one(product, product_line(product))


def restock(api, out, options):
    request = pb.AdjustStockRequest(
        product_id=options.product, delta=options.delta, reason=options.reason, request_id=options.request_id
    )
    product = call(api.admin.AdjustStock, request).product
    out.one(product, product_line(product))


def stats(api, out, options):
    books = call(api.admin.GetSaleStats, pb.GetSaleStatsRequest(product_id=options.product))
    text = (
        f"available {books.available_stock} of {books.total_stock}\n"
        f"held      {books.held_stock} in {books.holds_active} holds\n"
        f"owed for  {books.pending_stock} in {books.orders_pending} orders\n"
        f"paid      {books.paid_stock} in {books.orders_paid} orders\n"
        f"over      {books.holds_expired} holds expired, {books.holds_cancelled} cancelled,"
        f" {books.orders_cancelled} orders cancelled"
    )
    out.one(books, text, product_id=options.product)


ORDER_COLUMNS = ("#order", "#product", "status", "#units", "#cents", "buyer", "made", "pay until", "settled")


def order_row(order):
    due = when(order, "payment_due_at") if order.status == pb.ORDER_STATUS_PENDING else "-"
    return (order.order_id, order.product_id, word(order, "status"), order.qty, order.amount_cents,
            optional(order, "buyer_id"), when(order, "created_at"), due, when(order, "settled_at"))


def orders(api, out, options):
    request = pb.ListOrdersRequest(product_id=options.product, buyer_id=options.buyer)
    if options.status:
        request.status = pb.OrderStatus.Value(f"ORDER_STATUS_{options.status.upper()}")
    if options.settled_after:
        request.settled_after.FromDatetime(options.settled_after)
    listed = entries(api.admin.ListOrders, request, "orders")
    out.table(f"Orders of product {options.product}", ORDER_COLUMNS, listed, order_row, "no orders")


def owed(api, out, options):
    """Lists the orders that nobody has paid yet."""
    request = pb.ListOrdersRequest(product_id=options.product, overdue=options.overdue or None)
    if not options.overdue:
        request.status = pb.ORDER_STATUS_PENDING
    count, cents = 0, 0

    def counted():
        nonlocal count, cents
        for order in entries(api.admin.ListOrders, request, "orders"):
            count, cents = count + 1, cents + order.amount_cents
            yield order

    title = f"Unpaid orders of product {options.product}"
    out.table(title, ORDER_COLUMNS, counted(), order_row, "nothing is owed")
    if count and not out.as_json:
        out.console.print(f"{count} orders, {money(cents)}")


def find(api, out, options):
    """Lists the holds and orders of a buyer, of one product or of all."""
    if options.product:
        product_ids = [options.product]
    else:
        listed = entries(api.admin.ListProducts, pb.ListProductsRequest(), "products")
        product_ids = [product.product_id for product in listed]

    def holds():
        for product_id in product_ids:
            request = pb.ListHoldsRequest(product_id=product_id, buyer_id=options.buyer)
            yield from entries(api.admin.ListHolds, request, "holds")

    def bought():
        for product_id in product_ids:
            request = pb.ListOrdersRequest(product_id=product_id, buyer_id=options.buyer)
            yield from entries(api.admin.ListOrders, request, "orders")

    def row(hold):
        return (hold.hold_id, hold.product_id, word(hold, "status"), hold.qty, hold.unit_price_cents,
                when(hold, "created_at"), when(hold, "expires_at"))

    columns = ("#hold", "#product", "status", "#units", "#cents each", "made", "until")
    out.table(f"Holds of {options.buyer}", columns, holds(), row, "no holds")
    out.table(f"Orders of {options.buyer}", ORDER_COLUMNS, bought(), order_row, "no orders")


def cancel(api, out, options):
    order = call(api.sale.CancelOrder, pb.CancelOrderRequest(order_id=options.order)).order
    out.one(order, order_line(order))


def refunds(api, out, options):
    request = pb.ListPaymentExceptionsRequest(product_id=options.product, include_resolved=options.all)

    def row(exception):
        resolved = exception.HasField("resolved_at")
        return (exception.exception_id, word(exception, "kind"), exception.order_id,
                optional(exception, "amount_cents", "not told"), clean(exception.idempotency_key),
                when(exception, "created_at"), f"resolved: {optional(exception, 'note')}" if resolved else "open")

    columns = ("#exception", "kind", "#order", "#cents", "event", "since", "state")
    listed = entries(api.admin.ListPaymentExceptions, request, "exceptions")
    out.table("Payments that need a person", columns, listed, row, "nothing is to be refunded")


def accept(api, out, options):
    """Takes a payment of another amount as the payment of its order."""
    accepted = call(api.admin.AcceptPayment, pb.AcceptPaymentRequest(exception_id=options.exception, note=options.note))
    check_note(accepted.exception, options)
    text = f"exception {options.exception} is resolved: {clean(options.note)}; {order_line(accepted.order)}"
    out.one(accepted, text)


def resolve(api, out, options):
    request = pb.ResolvePaymentExceptionRequest(exception_id=options.exception, note=options.note)
    exception = call(api.admin.ResolvePaymentException, request).exception
    check_note(exception, options)
    out.one(exception, f"exception {exception.exception_id} is resolved: {clean(exception.note)}")


def check_note(exception, options):
    """Fails where somebody else has resolved the exception before."""
    if exception.note != options.note:
        raise Failed(f"exception {exception.exception_id} was resolved before: {clean(exception.note)}")


def actions(api, out, options):
    request = pb.ListOperatorActionsRequest(product_id=options.product)

    def row(action):
        changes = (f"{change.field}: {optional(change, 'before', 'none')} -> {optional(change, 'after', 'none')}"
                   for change in action.changes)
        return (action.action_id, when(action, "created_at"), clean(action.principal), action.method.rpartition("/")[2],
                optional(action, "product_id"), clean(", ".join(changes)))

    columns = ("#action", "when", "who", "call", "#product", "what changed")
    listed = entries(api.admin.ListOperatorActions, request, "actions")
    out.table("What operators did", columns, listed, row, "no actions")
