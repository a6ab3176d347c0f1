/**
 * The network's worker: carries frames between the guest's cards and segments,
 * past Python and the harts.
 *
 * Gets {type: "prepare", module, memory, stackTop, cards: [{number, slot, area}]},
 * then {type: "connect", number, segment}, {type: "disconnect", number}, {type: "renew"},
 * {type: "frame", number, frame}.  Tells {type: "status", number, state, ...} and, on
 * segments that have no server, {type: "dhcp", number, frame}.
 */

import { instantiate } from "../instance.mjs";
import { listen, post } from "../port.mjs";
import { Card, DOWN_MS } from "./card.mjs";
import { open } from "./segments.mjs";

/** @type {Map<number, Card>} */
const cards = new Map();

/** @param {any} message */
async function prepare({ module, memory, stackTop, cards: wanted }) {
  const exports = await instantiate(module, memory, { stackTop });
  for (const { number, slot, area } of wanted) {
    const card = new Card(exports, memory, slot, area);
    card.tell = (/** @type {any} */ status) => post({ type: "status", number, ...status });
    card.ask = (frame) => post({ type: "dhcp", number, frame });
    cards.set(number, card);
    void card.serve();
  }
}

/** @type {Promise<void>} */
let ready = Promise.resolve();

listen((message) => {
  if (message.type === "prepare") {
    ready = prepare(message);
    ready.catch((error) => post({ type: "status", number: 0, state: "failed", error: String(error) }));
    return;
  }
  void ready.then(() => {
    const card = cards.get(message.number);
    if (message.type === "connect") card?.plug(open(message.segment));
    else if (message.type === "disconnect") card?.plug(null);
    else if (message.type === "frame") card?.receive(message.frame);
    else if (message.type === "renew") {
      for (const each of cards.values()) {
        each.unlink();
        setTimeout(() => each.relink(), DOWN_MS);
      }
    }
  });
});
