"""What a person reads at a terminal, or a script with --json."""

import json
import os
import sys

from google.protobuf.timestamp_pb2 import Timestamp
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

# The width of a table that goes to a file or a pipe.
PIPE_WIDTH = 160


def console():
    """Makes the console that all is printed on: its own width at a terminal, else COLUMNS or a wide line."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


def clean(text):
    """Returns a text of a caller with its control characters shown as escapes, so that none of them does anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in str(text))


def word(message, field):
    """Returns the value of an enum in one word: paid for ORDER_STATUS_PAID."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    names = enum.values_by_number
    value = getattr(message, field)
    if value not in names:
        return str(value)
    snake = "".join(f"_{char}" if char.isupper() else char for char in enum.name).lstrip("_").upper()
    return names[value].name.removeprefix(f"{snake}_").lower()


def when(message, field):
    """Returns a time as a person reads it, in UTC and whole seconds, or a dash."""
    if not message.HasField(field):
        return "-"
    return getattr(message, field).ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def money(cents):
    return f"{cents} cents"


def optional(message, field, none="-"):
    return clean(getattr(message, field)) if message.HasField(field) else none


def plain(message):
    """Returns a message as JSON has it: names as in the proto, enums as words, None for what is absent."""
    if isinstance(message, Timestamp):
        return message.ToJsonString()
    fields = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            fields[field.name] = [plain(entry) for entry in value]
        elif field.has_presence and not message.HasField(field.name):
            fields[field.name] = None
        elif field.enum_type is not None:
            fields[field.name] = word(message, field.name)
        else:
            fields[field.name] = plain(value) if field.message_type is not None else value
    return fields


def product_line(product):
    state = "paused" if product.paused else "not paused"
    limit = f", {product.max_per_buyer} for each buyer" if product.HasField("max_per_buyer") else ""
    starts = f", from {product.starts_at.ToJsonString()}" if product.HasField("starts_at") else ""
    ends = f", until {product.ends_at.ToJsonString()}" if product.HasField("ends_at") else ""
    return (
        f"product {product.product_id} '{clean(product.name)}': {product.available_stock} of {product.total_stock}"
        f" available, {money(product.price_cents)}, {state}{limit}{starts}{ends}"
    )


def order_line(order):
    return (
        f"order {order.order_id}: {word(order, 'status')}, {order.qty} of product {order.product_id},"
        f" {money(order.amount_cents)}, buyer {optional(order, 'buyer_id', 'not named')}"
    )


class Output:
    """Prints what a command found: words and tables, or JSON."""

    def __init__(self, as_json):
        self.as_json = as_json
        self.console = console()

    def json(self, value):
        # A script sees each line at once, also through a pipe.
        print(json.dumps(value, ensure_ascii=False), flush=True)

    def one(self, message, text, **more):
        """Prints one message: as JSON, or the text about it."""
        if self.as_json:
            self.json(plain(message) | more)
        else:
            self.console.print(Text(text), soft_wrap=True)

    def table(self, title, columns, messages, row, none):
        """Prints a list: a JSON line for each message as it comes, or a table, or what to say of an empty list."""
        if self.as_json:
            for message in messages:
                self.json(plain(message))
            return
        table = Table(title=Text(clean(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column.strip("# "), justify="right" if column.startswith("#") else "left", overflow="fold")
        for message in messages:
            table.add_row(*(Text(str(cell)) for cell in row(message)))
        if table.row_count:
            self.console.print(table)
        elif none:
            self.console.print(none)
