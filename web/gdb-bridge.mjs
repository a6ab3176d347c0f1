/**
 * gdb's way to the page's machine: serve.py listens on a port of this computer
 * and passes bytes over a WebSocket (py/hartwell/setup/gdb_bridge.py has the
 * messages).  Opened when somebody asks for it, and gone with the page.
 */

/** @typedef {import("./node/gdb.mjs").Wire} Wire */

/** @type {WebSocket | null} */
let socket = null;

/**
 * @param {URL} address of serve.py's endpoint
 * @param {number} port 0: any that is free
 * @param {(send: (data: Uint8Array) => void) => Wire | undefined} connect undefined: refused
 * @returns {Promise<number>} the port; what was open before is closed
 */
export function bridge(address, port, connect) {
  close();
  const url = new URL(address);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("port", String(port));
  const own = (socket = new WebSocket(url));
  own.binaryType = "arraybuffer";
  /** @type {Wire | undefined} */
  let wire;
  const leave = () => {
    wire?.close();
    wire = undefined;
  };
  return new Promise((resolve, reject) => {
    own.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        if (wire && !wire.receive(new Uint8Array(data))) own.send(JSON.stringify({ close: true }));
        return;
      }
      const message = JSON.parse(data);
      if (message.listening) resolve(message.listening);
      else if (message.error) reject(new Error(message.error));
      else if (message.closed) leave();
      else if (message.open) {
        leave();
        wire = connect((bytes) => own.readyState === WebSocket.OPEN && own.send(bytes));
        if (!wire) own.send(JSON.stringify({ close: true }));
      }
    };
    own.onclose = () => {
      leave();
      reject(new Error("serve.py offers no port for gdb: it has ended, or this page is served by something else"));
    };
  });
}

/** Nobody listens any more. */
export function close() {
  socket?.close();
  socket = null;
}
