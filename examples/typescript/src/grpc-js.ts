// Buys units one by one, also while the server is restarted, and then asks for more than there is.
// This is the caller by @grpc/grpc-js; connect.ts is the same by @connectrpc/connect-node.
//
//     npm ci && npm run build && node build/src/grpc-js.js PRODUCT_ID WISHES ADDRESS…
//
// An address is like 127.0.0.1:50051.

import { randomUUID } from "node:crypto";
import { setTimeout as rest } from "node:timers/promises";
import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { FlashSaleService } from "../gen/flashsale/v1/flash_sale_pb.js";
import { ErrorInfoSchema, RetryInfoSchema, StatusSchema } from "../gen/google/rpc/status_pb.js";

// A call with all its repeats. A restart of the server has to fit in.
const DEADLINE_MS = 60_000;
const REST_MS_MAX = 2_000;
// UNKNOWN and INTERNAL come where an answer was cut off on its way. All of these may come after the call took effect,
// so a repeat has to have the same requestId.
const TEMPORARY = [grpc.status.UNAVAILABLE, grpc.status.RESOURCE_EXHAUSTED, grpc.status.UNKNOWN, grpc.status.INTERNAL];

function connect(addresses: string[]): grpc.Client {
  return new grpc.Client(`ipv4:${addresses.join(",")}`, grpc.credentials.createInsecure(), {
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
    // Without it the calls would be addressed to the first address, also at the others.
    "grpc.default_authority": "flashsale",
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
  });
}

/** Sends a call once. */
function send<I extends DescMessage, O extends DescMessage>(
  client: grpc.Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
  deadline: number,
): Promise<MessageShape<O>> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes),
      create(method.input, request),
      new grpc.Metadata({ waitForReady: true }),
      { deadline },
      (error, response) => (error ? reject(error) : resolve(response!)),
    );
  });
}

/** Calls, and repeats the call while it may succeed a little later. The request has to say which wish it is. */
async function call<I extends DescMessage, O extends DescMessage>(
  client: grpc.Client,
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O>> {
  const deadline = Date.now() + DEADLINE_MS;
  for (let restMax = 100; ; restMax = Math.min(2 * restMax, REST_MS_MAX)) {
    try {
      return await send(client, method, request, deadline);
    } catch (error) {
      const retry = detail(error, RetryInfoSchema)?.retryDelay;
      // A random rest, so that callers who failed together don't come back together.
      const restMs = Math.random() * restMax + (retry ? durationMs(retry) : 0);
      // A fault of the service itself is INTERNAL with a reason.
      const isTemporary =
        isServiceError(error) &&
        TEMPORARY.includes(error.code) &&
        detail(error, ErrorInfoSchema)?.reason !== "INTERNAL";
      if (!isTemporary || Date.now() + restMs >= deadline) throw error;
      await rest(restMs);
    }
  }
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}

/** Returns the detail of this kind in the trailer grpc-status-details-bin. */
function detail<D extends DescMessage>(error: unknown, schema: D): MessageShape<D> | undefined {
  if (!isServiceError(error)) return undefined;
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  if (!(bytes instanceof Buffer)) return undefined;
  for (const packed of fromBinary(StatusSchema, bytes).details) {
    const found = anyUnpack(packed, schema);
    if (found) return found;
  }
  return undefined;
}

const [productId, wishes, ...addresses] = process.argv.slice(2);
if (productId === undefined || wishes === undefined || addresses.length === 0) {
  throw new Error("usage: grpc-js.js PRODUCT_ID WISHES ADDRESS…");
}
const client = connect(addresses);
const { createHold, createOrder } = FlashSaleService.method;
for (let number = 0; number < Number(wishes); number++) {
  // One requestId for each wish, made up once: all repeats have the same.
  const requestId = randomUUID();
  const { hold } = await call(client, createHold, { productId: BigInt(productId), qty: 1, requestId });
  const { order } = await call(client, createOrder, { holdId: hold!.holdId, requestId });
  console.log(`order ${order!.orderId} of ${order!.amountCents} cents`);
}

try {
  const wish = { productId: BigInt(productId), qty: 1_000_000, requestId: randomUUID() };
  const { hold } = await call(client, createHold, wish);
  console.log(`hold ${hold!.holdId}`);
} catch (error) {
  // A refusal is known by its reason. The message is for people and may change.
  const info = detail(error, ErrorInfoSchema);
  if (info?.domain !== "flashsale") throw error;
  if (info.reason === "OUT_OF_STOCK") console.log(`only ${info.metadata.availableStock} left`);
  else if (info.reason === "SALE_NOT_STARTED") console.log(`come back at ${info.metadata.startsAt}`);
  else throw error;
}
client.close();
