/* The live numbers in the page's corner: /metrics/summary every two seconds, as long as somebody looks.

   The service only counts, from its start on. Rates, ratios and quantiles here are of the last half minute: they are made
   of the difference between two of its answers. */

const POLL_MS = 2000;
const MAX_PAUSE_MS = 60000;
const PATIENCE_MS = 5000;
const WINDOW_SECONDS = 30;
const CLOSED = new Set([403, 404]); // an ingress need not let this route out, and then never will

const byId = (id) => document.getElementById(id);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

let answers = []; // summaries of the last half minute, the oldest first
let failures = 0; // in a row
let timer;

/* ---- asking ---- */

async function poll() {
  clearTimeout(timer);
  try {
    const response = await fetch("metrics/summary", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (CLOSED.has(response.status)) return stop();
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    keep(await response.json());
    failures = 0;
    show(answers.at(0), answers.at(-1));
  } catch {
    failures += 1; // whatever it was: nothing is known of the service, and it is not to be asked more often
    showNothing();
  }
  if (document.visibilityState === "visible") timer = setTimeout(poll, Math.min(POLL_MS * 2 ** failures, MAX_PAUSE_MS));
}

function stop() {
  document.removeEventListener("visibilitychange", look);
  byId("live").hidden = true;
}

function look() {
  clearTimeout(timer);
  if (document.visibilityState === "visible") poll();
}

/** Adds a summary, and forgets what is too old or was counted before a restart. */
function keep(summary) {
  const restarted = answers.length > 0 && summary.requests.total < answers.at(-1).requests.total;
  if (restarted) answers = [];
  answers.push(summary);
  answers = answers.filter(({ timestamp }) => summary.timestamp - timestamp <= WINDOW_SECONDS);
}

/* ---- working out ---- */

/** Predictions asked for, by whatever protocol. */
const requests = ({ requests: { by_route: counts }, latency: { routes } }) =>
  sum(counts.filter(({ route, method }) => method === "POST" && routes.includes(route)).map(({ count }) => count));

/** Share of texts in the window that a cache answered; NaN when there were none. */
function hitRatio(older, newer) {
  const grown = (source) => newer.cache.sources[source].texts - older.cache.sources[source].texts;
  const sources = Object.keys(newer.cache.sources);
  return (grown("memory") + grown("redis")) / sum(sources.map(grown));
}

/** The q-quantile in milliseconds of the requests in the window, by interpolation within its bucket; NaN for none. */
function quantile(q, older, newer) {
  const before = older.latency.buckets; // empty before the first request ever
  const grown = ({ le_ms: bound, count }, index) => ({ bound, count: count - (before[index]?.count ?? 0) });
  const buckets = newer.latency.buckets.map(grown);
  const rank = q * (buckets.at(-1)?.count ?? 0);
  const index = buckets.findIndex(({ count }) => count >= rank && count > 0);
  if (index < 0) return NaN;
  const lower = index > 0 ? buckets[index - 1] : { bound: 0, count: 0 };
  if (buckets[index].bound === null) return lower.bound; // beyond the last bound: at least that
  return lower.bound + (buckets[index].bound - lower.bound) * ((rank - lower.count) / (buckets[index].count - lower.count));
}

/* ---- showing ---- */

const UNKNOWN = "–";
const finite = (value, text) => (Number.isFinite(value) ? text : UNKNOWN);
const plain = (value) => value.toLocaleString("en-GB", { maximumFractionDigits: value < 10 ? 1 : 0 });
const milliseconds = (value) => finite(value, `${value.toFixed(value < 10 ? 2 : 0)} ms`);
const percent = (value) => finite(value, `${Math.round(value * 100)} %`);

function show(older, newer) {
  const seconds = newer.timestamp - older.timestamp;
  const rate = (requests(newer) - requests(older)) / seconds;
  write({
    rate: finite(rate, plain(rate)),
    p50: milliseconds(quantile(0.5, older, newer)),
    p99: milliseconds(quantile(0.99, older, newer)),
    hits: percent(hitRatio(older, newer)),
    waiting: plain(newer.queue.texts),
    state: newer.status === "ready" ? "ready" : "not ready",
  });
  byId("live").hidden = false;
}

function showNothing() {
  write({ rate: UNKNOWN, p50: UNKNOWN, p99: UNKNOWN, hits: UNKNOWN, waiting: UNKNOWN, state: "no answer" });
}

function write(values) {
  for (const [name, text] of Object.entries(values)) byId(`live-${name}`).textContent = text;
}

document.addEventListener("visibilitychange", look);
look();
