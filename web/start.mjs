/**
 * The first module of the page: begins to start Python before the page's own
 * modules have come, since that takes longest.
 */

import { beginning } from "./options.mjs";
import { missing } from "./requirements.mjs";
import { Supervisor } from "./supervisor-client.mjs";

/** What this browser lacks; null when it has all that is needed. */
export const shortfall = missing();
/** None where something is missing. */
export const supervisor = shortfall ? null : new Supervisor(beginning(location.search));
