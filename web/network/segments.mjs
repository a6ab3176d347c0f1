/**
 * What a card can be plugged into: the relay of the page's server, or a switch
 * between machines of the same origin.
 *
 * @typedef {import("./card.mjs").Card} Card
 * @typedef {import("./card.mjs").Segment} Segment
 */

const PILED_UP = 1 << 20; // bytes that the browser has yet to send
const AGAIN_MS = [1000, 2000, 4000, 8000, 16000]; // after a connection was lost

/**
 * @param {{kind: "relay", url: string} | {kind: "switch", name: string, mac: number[]}} wanted
 * @returns {Segment}
 */
export function open(wanted) {
  return wanted.kind === "relay" ? new Relay(wanted.url) : new Switch(wanted.name, wanted.mac);
}

/** A WebSocket to serve.py (py/hartwell/setup/relay.py): binary messages are frames. */
class Relay {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #tries = 0;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
  }

  /** @param {Card} card */
  attach(card) {
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    let up = false;
    let why = "the server has no relay, or does not answer";
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        card.receive(new Uint8Array(data));
        return;
      }
      const { ready, error } = JSON.parse(data);
      if (error) why = error;
      if (!ready) return;
      up = true;
      this.#tries = 0;
      card.linked(ready);
    };
    socket.onclose = ({ reason }) => {
      if (this.#socket !== socket) return; // it was closed from here
      card.lost(up ? `the relay's connection has ended${reason ? `: ${reason}` : ""}` : why);
      // What never worked is for the person to mend; what worked may come back.
      if (up || this.#tries) this.#timer = setTimeout(() => this.attach(card), AGAIN_MS[Math.min(this.#tries++, AGAIN_MS.length - 1)]);
    };
  }

  /** @param {Uint8Array<ArrayBuffer>} frame */
  send(frame) {
    if (this.#socket?.readyState === 1) this.#socket.send(frame);
  }

  ready() {
    return (this.#socket?.bufferedAmount ?? 0) < PILED_UP;
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}

/** A broadcast channel: every card hears every frame, and keeps those for itself. */
class Switch {
  /** @type {Card | null} */
  #card = null;

  /**
   * @param {string} name
   * @param {number[]} mac
   */
  constructor(name, mac) {
    this.name = name;
    this.mac = mac;
    this.channel = new BroadcastChannel(`hartwell network ${name}`);
  }

  /** @param {Card} card */
  attach(card) {
    this.#card = card;
    this.channel.onmessage = (/** @type {any} */ { data }) => {
      if (data instanceof Uint8Array && data.length >= 14 && (data[0] & 1 || this.mac.every((byte, i) => byte === data[i]))) {
        card.receive(data);
      }
    };
    card.linked({ reaches: `machines on the switch ${this.name}` });
  }

  /** @param {Uint8Array<ArrayBuffer>} frame */
  send(frame) {
    if (isDhcp(frame)) this.#card?.ask(frame);
    else this.channel.postMessage(frame);
  }

  ready() {
    return true;
  }

  close() {
    this.channel.close();
  }
}

/** A message to a DHCP server (UDP port 67)? @param {Uint8Array} frame */
function isDhcp(frame) {
  return (
    frame.length > 42 && frame[12] === 8 && frame[13] === 0 && frame[23] === 17 && frame[36] === 0 && frame[37] === 67
  );
}
