/* The page at "/": scores the text box as it is typed, and shows the model's card.

   URLs are relative, so the page also works behind a path prefix. Text of users and of the service reaches the page
   through textContent only, so none of it can become markup. */

const TYPING_PAUSE_MS = 150;
const MAX_RETRIES = 5; // in a row; the next edit starts afresh
const DEFAULT_RETRY_SECONDS = 2;
const MAX_ERRORS_SHOWN = 5;
const MAX_LINES_ANNOUNCED = 3;
const MAX_DIGITS = 6; // of a fraction in the model's card
const HUES = 6; // .hue-0 to .hue-5 in page.css

const REFUSALS = {
  401: "The service asks for an API key",
  413: "Too much for one request",
  422: "The service can't score this",
  429: "The service is busy",
  503: "The service isn't ready",
  504: "The service took too long",
};
const WORTH_RETRYING = new Set([429, 503]);

const UNAUTHORIZED = 401;
const KEY = "valence-api-key"; // in the tab's own storage, which ends with the tab

const byId = (id) => document.getElementById(id);
let unclearBelow = 0; // the model's: a text whose highest score is lower has no clear label
const box = byId("texts");

/* ---- the API ---- */

/** No answer, or one that is not 2xx. `detail` is FastAPI's: a string, or a list of {loc, msg}. */
class ApiError extends Error {
  constructor(message, { source = "", detail = [], retrySeconds = null } = {}) {
    super(message);
    Object.assign(this, { source, detail, retrySeconds });
  }
}

/** The answer as {body, headers}. Throws ApiError, or AbortError when `options.signal` says so. */
async function fetchJson(url, options = {}) {
  const { response, text } = await answerTo(url, options);
  if (!response.ok) throw refusal(response, text);
  try {
    return { body: JSON.parse(text), headers: response.headers };
  } catch {
    throw new ApiError("The answer is not the service's", { detail: "It is not JSON." }); // a proxy's log-in page, say
  }
}

async function answerTo(url, options) {
  try {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(key && { "X-API-Key": key }) };
    const response = await fetch(url, { ...options, headers });
    if (response.status === UNAUTHORIZED) byId("key-field").hidden = false; // no other service needs one
    return { response, text: await response.text() };
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError("The service can't be reached"); // any fault of the network
    throw error;
  }
}

function refusal({ status, headers }, text) {
  return new ApiError(REFUSALS[status] ?? "The service could not answer", {
    source: `HTTP ${status}, request ${headers.get("X-Request-ID") ?? "unknown"}.`,
    detail: detailOf(text),
    retrySeconds: WORTH_RETRYING.has(status) ? retryAfter(headers) : null,
  });
}

/** Seconds to wait by the Retry-After header, which holds seconds or (rarely, so not read) a date. */
function retryAfter(headers) {
  const seconds = Number.parseInt(headers.get("Retry-After"), 10);
  return seconds >= 0 ? seconds : DEFAULT_RETRY_SECONDS;
}

/** What an error's body says; a proxy in front of the service may answer with something other than JSON. */
function detailOf(text) {
  try {
    return JSON.parse(text).detail ?? text;
  } catch {
    return text;
  }
}

/* ---- scoring ---- */

let timer; // the next scoring: a pause in typing, or a retry
let inFlight = new AbortController();

/** Scores the box after `delayMs`, in place of whatever was waiting or under way. */
function schedule(delayMs, retries = 0) {
  clearTimeout(timer);
  inFlight.abort();
  timer = setTimeout(() => score(retries), delayMs);
}

async function score(retries) {
  inFlight = new AbortController();
  const { signal } = inFlight;
  const lines = linesOf(box.value);
  if (lines.length === 0) return showNothing();

  byId("results").setAttribute("aria-busy", "true");
  const started = performance.now();
  try {
    const { body, headers } = await fetchJson("predict", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: lines.map((line) => line.text) }),
      signal,
    });
    if (signal.aborted) return; // the box has changed since
    showResults(lines, body.predictions, truncatedIn(headers), windowsIn(headers));
    showFigures(headers, performance.now() - started);
    if (!byId("card").hasChildNodes()) loadCard();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    refuse(error, lines, retries);
  }
}

function refuse(error, lines, retries) {
  const again = error.retrySeconds !== null && retries < MAX_RETRIES;
  showError(error, lines, again ? `Trying again in ${error.retrySeconds} s.` : "");
  if (again) schedule(error.retrySeconds * 1000, retries + 1);
}

/** The lines that are not blank, each with its number in the box, counted from 1. */
function linesOf(value) {
  return value
    .split("\n")
    .map((text, index) => ({ text, number: index + 1 }))
    .filter((line) => line.text.trim() !== "");
}

/** X-Truncated "0,3" as the set {0, 3}: indices of texts longer than the model reads. */
function truncatedIn(headers) {
  const value = headers.get("X-Truncated");
  return new Set(value ? value.split(",").map(Number) : []);
}

/** X-Windows "0:3,4:2" as the map {0 => 3, 4 => 2}: how many windows a long text was read in. */
function windowsIn(headers) {
  const value = headers.get("X-Windows");
  return new Map(value ? value.split(",").map((pair) => pair.split(":").map(Number)) : []);
}

/* ---- showing ---- */

const percent = (score) => `${(score * 100).toFixed(1)} %`;
const milliseconds = (value) => (Number.isFinite(value) ? `${value.toFixed(value < 10 ? 2 : 0)} ms` : "unknown");

/** Gives `parent` exactly `count` copies of the template, keeping those it has, so that bars move and don't flash. */
function fit(parent, count, templateId) {
  while (parent.children.length > count) parent.lastElementChild.remove();
  while (parent.children.length < count) parent.append(byId(templateId).content.cloneNode(true));
  return [...parent.children];
}

function showResults(lines, predictions, truncated, windows) {
  byId("error").hidden = true;
  byId("empty").hidden = true;
  const rows = fit(byId("results"), predictions.length, "row-template");
  rows.forEach((row, index) => {
    fillRow(row, lines[index], predictions[index]);
    row.querySelector(".truncated").hidden = !truncated.has(index);
    row.querySelector(".windows").hidden = !windows.has(index);
    row.querySelector(".windows").textContent = `read in ${windows.get(index)} windows`;
  });
  byId("results").removeAttribute("aria-busy");
  announce(lines, predictions);
}

const isClear = (best) => best.score >= unclearBelow;
const verdictOn = (best) => (isClear(best) ? best.label : "no clear sentiment");

/** `prediction` is [{label, score}, ...], highest first. A label's hue is its place in the alphabet, and so steady. */
function fillRow(row, line, prediction) {
  const alphabet = prediction.map(({ label }) => label).sort();
  const hueOf = (label) => `hue-${alphabet.indexOf(label) % HUES}`;
  row.querySelector(".line").textContent = line.number;
  row.querySelector(".text").textContent = line.text;
  row.querySelector(".label").textContent = verdictOn(prediction[0]);
  row.querySelector(".verdict").className = isClear(prediction[0]) ? `verdict ${hueOf(prediction[0].label)}` : "verdict";
  fit(row.querySelector(".bars"), prediction.length, "bar-template").forEach((bar, index) => {
    const { label, score } = prediction[index];
    bar.className = hueOf(label);
    bar.querySelector(".name").textContent = label;
    bar.querySelector(".score").textContent = percent(score);
    bar.querySelector(".fill").style.setProperty("--score", score); // by CSSOM: style-src forbids style attributes
  });
}

/** Says the outcome to a screen reader in one sentence; the bars themselves would be read out at every key. */
function announce(lines, predictions) {
  const spoken = predictions
    .slice(0, MAX_LINES_ANNOUNCED)
    .map(([best], index) => `Line ${lines[index].number}: ${verdictOn(best)}, ${percent(best.score)}`);
  if (predictions.length > spoken.length) spoken.push(`and ${predictions.length - spoken.length} more`);
  byId("announcement").textContent = spoken.join("; ");
}

function showFigures(headers, roundTripMs) {
  const [hits, total] = (headers.get("X-Cache") ?? "").split("/");
  byId("service-time").textContent = milliseconds(Number.parseFloat(headers.get("X-Latency-ms")));
  byId("round-trip").textContent = milliseconds(roundTripMs);
  byId("cache").textContent = total ? `${hits} of ${total}` : "unknown";
  byId("figures").hidden = false;
}

/** Takes the results away: they belong to a text that is no longer in the box. */
function showNothing() {
  byId("results").replaceChildren();
  byId("results").removeAttribute("aria-busy");
  byId("announcement").textContent = "";
  byId("figures").hidden = true;
  byId("error").hidden = true;
  byId("empty").hidden = false;
}

function showError(error, lines, footnote) {
  showNothing();
  byId("empty").hidden = true;
  const paragraphs = [error.message, ...explain(error.detail, lines), `${error.source} ${footnote}`.trim()];
  byId("error").replaceChildren(...paragraphs.filter(Boolean).map((text) => make("p", text)));
  byId("error").hidden = false;
}

/** One sentence for each fault the service named, with the line of the box it is about. */
function explain(detail, lines) {
  if (!Array.isArray(detail)) return [asText(detail)];
  const sentence = ({ loc = [], msg }) => [placeOf(loc, lines), msg].filter(Boolean).join(": ");
  const faults = detail.slice(0, MAX_ERRORS_SHOWN).map(sentence);
  const more = detail.length - faults.length;
  return more > 0 ? [...faults, `and ${more} more`] : faults;
}

/** ["body", "text", 3] as the line that the fourth text came from; other places as the service names them. */
function placeOf(loc, lines) {
  const line = loc[1] === "text" ? lines[loc[2]] : undefined;
  return line ? `Line ${line.number}` : loc.join(" › ");
}

function make(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/* ---- the model's card ---- */

async function loadCard() {
  try {
    const { body } = await fetchJson("model/info");
    unclearBelow = body.unclear_below ?? 0;
    byId("card").replaceChildren(...flatten(body).map(cardEntry));
    byId("card-state").hidden = true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    byId("card-state").textContent = [error.message, ...explain(error.detail, [])].join(": ");
  }
}

/** {a: {b: 1}, c: 2} as [["a b", 1], ["c", 2]]. */
function flatten(object, prefix = []) {
  return Object.entries(object).flatMap(([key, value]) => {
    const path = [...prefix, key.replaceAll("_", " ")];
    const isGroup = value !== null && typeof value === "object" && !Array.isArray(value);
    return isGroup ? flatten(value, path) : [[path.join(" "), value]];
  });
}

function cardEntry([name, value]) {
  const entry = document.createElement("div");
  entry.append(make("dt", name), make("dd", asText(value)));
  return entry;
}

function asText(value) {
  if (value === null || value === "") return "–";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(MAX_DIGITS)));
  if (Array.isArray(value)) return value.map(asText).join(", ") || "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/* ---- events ---- */

function edited(delayMs) {
  byId("clear").disabled = box.value === "";
  schedule(delayMs);
}

/** Adds a line, or fills the first; an example added twice shows the cache at work. */
function addLine(text) {
  box.value = box.value.trim() === "" ? text : `${box.value.replace(/\n+$/, "")}\n${text}`;
  box.scrollTop = box.scrollHeight;
  edited(0);
}

box.addEventListener("input", () => edited(TYPING_PAUSE_MS));
for (const button of document.querySelectorAll(".example")) {
  button.addEventListener("click", () => addLine(button.textContent));
}
byId("clear").addEventListener("click", () => {
  box.value = "";
  box.focus();
  edited(0);
});
byId("key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, byId("key").value.trim());
  loadCard();
  edited(0);
});
byId("model").hidden = false;
loadCard();
edited(0); // a browser keeps the box's text over a reload
