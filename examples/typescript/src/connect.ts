// Buys units one by one, also while the server is restarted, and then asks for more than there is.
// This is the caller by @connectrpc/connect-node; grpc-js.ts is the same by @grpc/grpc-js.
//
//     npm ci && npm run build && node build/src/connect.js PRODUCT_ID WISHES ADDRESS
//
// The address is like 127.0.0.1:50051. Connect takes one: with several servers it is that of a load balancer.

import { randomUUID } from "node:crypto";
import { setTimeout as rest } from "node:timers/promises";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type CallOptions } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { FlashSaleService } from "../gen/flashsale/v1/flash_sale_pb.js";
import { ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/status_pb.js";

// A call with all its repeats. A restart of the server has to fit in.
const DEADLINE_MS = 60_000;
const REST_MS_MAX = 2_000;
// Connect reports a connection that broke, or an answer that was cut off on its way, as any of these. They may come
// after the call took effect, so a repeat has to have the same requestId.
const TEMPORARY = [Code.Unavailable, Code.ResourceExhausted, Code.Unknown, Code.Aborted, Code.Internal, Code.Canceled];

/** Calls, and repeats the call while it may succeed a little later. The request has to say which wish it is. */
async function call<I, O>(method: (request: I, options?: CallOptions) => Promise<O>, request: I): Promise<O> {
  const deadline = Date.now() + DEADLINE_MS;
  for (let restMax = 100; ; restMax = Math.min(2 * restMax, REST_MS_MAX)) {
    try {
      return await method(request, { timeoutMs: deadline - Date.now() });
    } catch (raw) {
      const error = ConnectError.from(raw);
      const [retry] = error.findDetails(RetryInfoSchema);
      const [info] = error.findDetails(ErrorInfoSchema);
      // A random rest, so that callers who failed together don't come back together.
      const restMs = Math.random() * restMax + (retry?.retryDelay ? durationMs(retry.retryDelay) : 0);
      // A fault of the service itself is INTERNAL with a reason.
      const isTemporary = TEMPORARY.includes(error.code) && info?.reason !== "INTERNAL";
      if (!isTemporary || Date.now() + restMs >= deadline) throw error;
      await rest(restMs);
    }
  }
}

const [productId, wishes, address] = process.argv.slice(2);
if (productId === undefined || wishes === undefined || address === undefined) {
  throw new Error("usage: connect.js PRODUCT_ID WISHES ADDRESS");
}
const transport = createGrpcTransport({
  baseUrl: `http://${address}`,
  // A server that vanished is noticed within 15 s.
  pingIntervalMs: 10_000,
  pingTimeoutMs: 5_000,
  pingIdleConnection: true,
});
const sale = createClient(FlashSaleService, transport);
for (let number = 0; number < Number(wishes); number++) {
  // One requestId for each wish, made up once: all repeats have the same.
  const requestId = randomUUID();
  const { hold } = await call(sale.createHold, { productId: BigInt(productId), qty: 1, requestId });
  const { order } = await call(sale.createOrder, { holdId: hold!.holdId, requestId });
  console.log(`order ${order!.orderId} of ${order!.amountCents} cents`);
}

try {
  const wish = { productId: BigInt(productId), qty: 1_000_000, requestId: randomUUID() };
  const { hold } = await call(sale.createHold, wish);
  console.log(`hold ${hold!.holdId}`);
} catch (error) {
  // A refusal is known by its reason. The message is for people and may change.
  const [info] = ConnectError.from(error).findDetails(ErrorInfoSchema);
  if (info?.domain !== "flashsale") throw error;
  if (info.reason === "OUT_OF_STOCK") console.log(`only ${info.metadata.availableStock} left`);
  else if (info.reason === "SALE_NOT_STARTED") console.log(`come back at ${info.metadata.startsAt}`);
  else throw error;
}
process.exit(); // Connect keeps an idle connection open.
