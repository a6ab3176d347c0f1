/**
 * A frame that shows a web server of the guest's.
 *
 * It is of the origin PORT-NAME.guest.localhost, which serve.py answers for
 * (py/hartwell/setup/guests.py): what the guest serves runs there, apart from
 * this page.  Requests to it come here by a WebSocket, go to the guest by vsock,
 * and the answers go back the same way.
 */

const HEAD_BYTES = 4;

/** Nobody guesses it, so no other site can ask the guest anything. */
const NAME = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export class GuestFrame extends HTMLElement {
  /** @type {import("./supervisor-client.mjs").Supervisor} */
  supervisor;
  /** @type {Promise<WebSocket> | null} */
  #line = null;

  /**
   * @param {number} port of the guest's
   * @param {string} path
   * @returns {Promise<string>} the address, which any tab of this browser can open while this page is there
   */
  async show(port, path = "/") {
    await this.#open();
    const address = `${location.protocol}//${port}-${NAME}.guest.localhost${location.port ? `:${location.port}` : ""}${path}`;
    const frame = document.createElement("iframe");
    frame.src = address;
    frame.title = `Port ${port} of the guest`;
    // Everything but the way out: it cannot take this page's place.
    frame.setAttribute("sandbox", "allow-scripts allow-same-origin allow-forms allow-modals allow-downloads");
    this.replaceChildren(frame);
    return address;
  }

  close() {
    this.replaceChildren();
  }

  /** The line to serve.py, opened once. @returns {Promise<WebSocket>} */
  #open() {
    this.#line ??= new Promise((resolve, reject) => {
      const address = new URL(`ws/guest?name=${NAME}`, document.baseURI).href.replace(/^http/, "ws");
      const line = new WebSocket(address);
      line.binaryType = "arraybuffer";
      line.onmessage = ({ data }) => {
        if (typeof data === "string") resolve(line); // the server knows of it
        else void this.#serve(line, new Uint8Array(data));
      };
      line.onclose = () => {
        this.#line = null;
        reject(new Error("this page’s server does not show web servers of guests; run python3 serve.py"));
      };
    });
    return this.#line;
  }

  /**
   * @param {WebSocket} line
   * @param {Uint8Array<ArrayBuffer>} message
   */
  async #serve(line, message) {
    const [{ id, ...request }, body] = unpack(message);
    try {
      const { status, headers, body: data } = await this.supervisor.http(request, body);
      line.send(pack({ id, status, headers }, data));
    } catch (error) {
      line.send(pack({ id, error: /** @type {Error} */ (error).message }));
    }
  }
}

/**
 * @param {object} head
 * @param {Uint8Array} [body]
 */
function pack(head, body = new Uint8Array()) {
  const text = new TextEncoder().encode(JSON.stringify(head));
  const message = new Uint8Array(HEAD_BYTES + text.length + body.length);
  new DataView(message.buffer).setUint32(0, text.length);
  message.set(text, HEAD_BYTES);
  message.set(body, HEAD_BYTES + text.length);
  return message;
}

/** @param {Uint8Array<ArrayBuffer>} message @returns {[any, Uint8Array]} */
function unpack(message) {
  const end = HEAD_BYTES + new DataView(message.buffer).getUint32(0);
  return [JSON.parse(new TextDecoder().decode(message.slice(HEAD_BYTES, end))), message.slice(end)];
}

customElements.define("hw-guest-frame", GuestFrame);
