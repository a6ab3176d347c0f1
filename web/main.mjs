/**
 * The page: puts its rooms together and passes between them what they say.
 *
 * No machine logic lives here.  Every button is a call of the Python API
 * through `act()`; everything shown comes from the supervisor's events.
 */

import "./console.mjs";
import "./controls.mjs";
import "./dock.mjs";
import "./keys.mjs";
import "./notice.mjs";
import "./preparing.mjs";
import "./progress.mjs";
import "./status.mjs";

import { arrives, parseOptions, pythonCall } from "./options.mjs";
import { DebugPanel } from "./panels/debug.mjs";
import { FilesPanel } from "./panels/files.mjs";
import { HartsPanel } from "./panels/harts.mjs";
import { MachinePanel } from "./panels/machine.mjs";
import { NetworkPanel } from "./panels/network.mjs";
import { NumbersPanel } from "./panels/numbers.mjs";
import { ProfilePanel } from "./panels/profile.mjs";
import { PythonPanel } from "./panels/python.mjs";
import { ShelfPanel } from "./panels/shelf.mjs";
import { TasksPanel } from "./panels/tasks.mjs";
import { TracePanel } from "./panels/trace.mjs";
import { Rest } from "./rest.mjs";
import { settings } from "./settings.mjs";
import { shortfall, supervisor as started } from "./start.mjs";
import { takeDrops } from "./uploads.mjs";

/** @typedef {import("./status.mjs").State} State */

const find = (/** @type {string} */ name) => /** @type {any} */ (document.querySelector(name));

/** @type {import("./console.mjs").ConsoleElement} */
const consoleElement = find("hw-console");
/** @type {import("./controls.mjs").ControlsElement} */
const controls = find("hw-controls");
/** @type {import("./dock.mjs").DockElement} */
const dock = find("hw-dock");
/** @type {import("./notice.mjs").NoticeElement} */
const notice = find("hw-notice");
/** @type {import("./progress.mjs").ProgressElement} */
const progress = find("hw-progress");
/** @type {import("./status.mjs").StatusElement} */
const status = find("hw-status");

/** @type {State} */
let state = { state: "loading" };

/**
 * A quiet kernel and systemd say nothing for some seconds: an empty console would look like a broken one.
 * @param {State} state
 */
function startsInSilence({ state, image, uptime = 0 }) {
  return state === "running" && image && consoleElement.blank && uptime > 1 && uptime < 60;
}

/** @param {State} next */
function show(next) {
  const before = state;
  state = next;
  status.show(state);
  controls.show(state);
  document.title = state.image ? `${state.image} ${state.state} – Hartwell` : "Hartwell";
  if (startsInSilence(state)) progress.report({ what: `${state.image} is starting`, loaded: 0, total: 0 });
  else if (state.state !== "loading") progress.done();
  if (state.error && state.error !== before.error) {
    notice.show({
      title: state.state === "crashed" ? "The machine has crashed." : "Something went wrong.",
      text: `${state.error} — Reset starts it again; what the console shows stays.`,
    });
  }
}

/** @typedef {import("./supervisor-client.mjs").Supervisor} Supervisor */

/** @param {Supervisor} supervisor */
function connect(supervisor) {
  supervisor.addEventListener("state", (event) => show(/** @type {CustomEvent} */ (event).detail));
  supervisor.addEventListener("progress", (event) => {
    if (state.state === "loading") progress.report(/** @type {CustomEvent} */ (event).detail);
  });
  supervisor.addEventListener("console", (event) => {
    const { data, quiet } = /** @type {CustomEvent} */ (event).detail;
    if (data.length) progress.done();
    consoleElement.write(data, quiet);
  });
  supervisor.addEventListener("terminal", async (event) => {
    const shown = await consoleElement.contents().catch((error) => (console.info("What the console shows can’t be said.", error), null));
    supervisor.terminal(/** @type {CustomEvent} */ (event).detail.question, shown);
  });
  supervisor.ready.catch(({ name, message }) => {
    show({ state: "stopped" });
    notice.show({ title: "Python did not start, so there is no machine.", text: `${name}: ${message}`, lasting: true });
    controls.show({ state: "loading" }); // without Python no button can do anything
  });
  consoleElement.addEventListener("keys", (event) => supervisor.input(/** @type {CustomEvent} */ (event).detail));
  const size = ({ cols, rows } = consoleElement.terminal) => supervisor.resize(cols, rows);
  consoleElement.addEventListener("size", () => size());
  size();
}

/**
 * Runs a call of the public API for a button; an error goes to the bar.
 *
 * @param {Supervisor} supervisor
 * @param {string} call
 * @param {string} said what the bar calls it
 */
async function act(supervisor, call, said = call) {
  notice.clear();
  try {
    return await supervisor.python(call);
  } catch (error) {
    const { name, message, traceback } = /** @type {any} */ (error);
    notice.show({ title: `${name}: ${message}`, text: `This was the answer to ${said}`, details: traceback });
    if (state.state === "loading") show({ ...state, state: "stopped" });
    return null;
  }
}

/** How often a machine is saved while it runs, now and whenever that is changed. @param {Supervisor} supervisor */
function saveAs(supervisor) {
  const tell = () => void supervisor.python(`Machine.checkpoint_seconds = ${settings.saveSeconds} or None`);
  settings.addEventListener("change", tell);
  tell();
}

function start() {
  const supervisor = started;
  if (!supervisor) {
    const { name, title, advice } = /** @type {import("./requirements.mjs").Shortfall} */ (shortfall);
    show({ state: "stopped" });
    controls.show({ state: "loading" });
    notice.show({ title, text: advice, lasting: true });
    const refusal = Promise.reject(Object.assign(new Error(`${title} ${advice}`), { name }));
    refusal.catch(() => {}); // the notice has said it
    window.hartwell = { ready: refusal, python: () => refusal, terminal: consoleElement.terminal };
    return;
  }

  window.hartwell = {
    ready: supervisor.ready,
    python: (code) => supervisor.python(code),
    terminal: consoleElement.terminal,
  };
  connect(supervisor);

  /** @type {import("./options.mjs").Options} */
  let options = { boot: false, cold: false, machine: {} };
  try {
    options = parseOptions(location.search);
  } catch (error) {
    notice.show({ title: /** @type {Error} */ (error).message });
  }
  controls.bootCall = `machine = await ${pythonCall("Machine.boot", options.machine)}`;
  const firstCall = arrives(location.search) ? "machine = await Machine.arrive()" : controls.bootCall;
  controls.addEventListener("call", (event) => {
    consoleElement.focus();
    void act(supervisor, /** @type {CustomEvent} */ (event).detail);
  });

  const page = {
    supervisor,
    act: (/** @type {string} */ call, /** @type {string} */ said = call) => act(supervisor, call, said),
    tell: (/** @type {Error} */ { name, message }) => notice.show({ title: `${name}: ${message}` }),
    say: (/** @type {string} */ title) => notice.show({ title, calm: true }),
    state: () => state,
    options: options.machine,
  };
  new Rest(supervisor, () => state);
  takeDrops(consoleElement, page);
  dock.leave = () => consoleElement.focus();
  dock.connect(page, [
    ShelfPanel, MachinePanel, PythonPanel, FilesPanel, HartsPanel, NetworkPanel, NumbersPanel, DebugPanel, TasksPanel,
    TracePanel, ProfilePanel,
  ]);
  find("hw-keys").connect(consoleElement);
  consoleElement.focus();

  const preparing = /** @type {import("./preparing.mjs").PreparingElement} */ (find("hw-preparing"));
  void preparing.watch(notice, () => state, (call) => {
    consoleElement.focus();
    void act(supervisor, call);
  });
  supervisor.ready.then(
    ({ adopted }) => {
      saveAs(supervisor);
      if (adopted) return; // it runs already
      if (options.boot) void act(supervisor, firstCall);
      else if (state.state === "loading") show({ ...state, state: "stopped" });
    },
    () => {},
  );
}

start();
