/**
 * gdb's way to the page's machine: serve.py listens on a port of this computer
 * and passes bytes over a WebSocket (py/hartwell/setup/gdb_bridge.py has the
 * messages).  Opened when somebody asks for it, and gone with the page.
 */

/** @typedef {import("./node/gdb.mjs").Wire} Wire */

/**
 * The way that is open.
 *
 * @type {{socket: WebSocket, port: number, connect: Connect} | null}
 */
let current = null;

/** @typedef {(send: (data: Uint8Array) => void) => Wire | undefined} Connect undefined: refused */

/**
 * @param {URL} address of serve.py's endpoint
 * @param {number} port 0: any that is free
 * @param {Connect} connect
 * @returns {Promise<number>} the port.  One that is open stays so, for this `connect` from now on; another one that was
 *   open is closed once this one is there
 */
export async function bridge(address, port, connect) {
  if (current?.port === port && current.socket.readyState === WebSocket.OPEN) {
    current.connect = connect;
    return port;
  }
  const url = new URL(address);
  url.protocol = url.protocol.replace("http", "ws");
  url.searchParams.set("port", String(port));
  const way = { socket: new WebSocket(url), port: 0, connect };
  way.port = await listening(way);
  close();
  current = way;
  return way.port;
}

/**
 * @param {{socket: WebSocket, connect: Connect}} way
 * @returns {Promise<number>} the port that serve.py listens on
 */
function listening(way) {
  const { socket } = way;
  socket.binaryType = "arraybuffer";
  /** @type {Wire | undefined} */
  let wire;
  const leave = () => {
    wire?.close();
    wire = undefined;
  };
  return new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") {
        if (wire && !wire.receive(new Uint8Array(data))) socket.send(JSON.stringify({ close: true }));
        return;
      }
      const message = JSON.parse(data);
      if (message.listening) resolve(message.listening);
      else if (message.error) reject(new Error(message.error));
      else if (message.closed) leave();
      else if (message.open) {
        leave();
        wire = way.connect((bytes) => socket.readyState === WebSocket.OPEN && socket.send(bytes));
        if (!wire) socket.send(JSON.stringify({ close: true }));
      }
    };
    socket.onclose = () => {
      leave();
      reject(new Error("serve.py offers no port for gdb: it has ended, or this page is served by something else"));
    };
  });
}

/** Nobody listens any more. */
export function close() {
  current?.socket.close();
  current = null;
}
