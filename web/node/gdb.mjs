/**
 * gdb's port in Node: TCP on this machine's loopback, bytes to Python and back.
 *
 * Who reaches the port owns the machine, so nobody but this host's own programs
 * does, and one at a time (hartwell.gdb.server).
 */

import net from "node:net";

/**
 * One connection, as Python has it.
 *
 * @typedef {object} Wire
 * @property {(data: Uint8Array) => boolean} receive false: Python wants it closed
 * @property {() => void} close
 */

/** @type {Map<number, (send: (data: Uint8Array) => void) => Wire | undefined>} who is told of connections, by port */
const ports = new Map();

/**
 * @param {number} port 0: any that is free; one that is open already stays so, for this `connect` from now on
 * @param {(send: (data: Uint8Array) => void) => Wire | undefined} connect undefined: refused
 * @returns {Promise<number>} the port
 */
export function listen(port, connect) {
  if (ports.has(port)) {
    ports.set(port, connect);
    return Promise.resolve(port);
  }
  let own = 0;
  const server = net.createServer((socket) => {
    const wire = ports.get(own)?.((data) => void socket.write(data));
    socket.on("error", () => socket.destroy());
    if (!wire) {
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    socket.on("data", (data) => {
      if (!wire.receive(Uint8Array.from(data))) socket.end();
    });
    socket.on("close", () => wire.close());
  });
  return new Promise((resolve, reject) => {
    server.on("error", (error) => reject(new Error(`port ${port} of this computer can't be had: ${error.message}`)));
    server.listen({ port, host: "127.0.0.1" }, () => {
      server.unref(); // the machine's end is the process's, with or without it
      own = /** @type {import("node:net").AddressInfo} */ (server.address()).port;
      ports.set(own, connect);
      resolve(own);
    });
  });
}
