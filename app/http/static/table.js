/* The page at "/" of a tabular model: one field for each column, predicted from as it is typed.

   The columns come from the model's card. URLs are relative, so the page also works behind a path prefix. */

const TYPING_PAUSE_MS = 150;
const RETRY_MS = 2000;
const HUES = 6; // .hue-0 to .hue-5 in page.css
const KEY = "valence-api-key"; // in the tab's own storage, which ends with the tab
const UNAUTHORIZED = 401;

const byId = (id) => document.getElementById(id);
let card; // what /model/info says
let timer;
let asked = 0; // only the answer to the last question is shown

/** The answer's body and headers. Throws an Error with what the service says. */
async function ask(url, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const response = await fetch(url, { ...options, headers: key ? { "X-API-Key": key } : {} });
  if (response.status === UNAUTHORIZED) byId("key-field").hidden = false; // no other service needs one
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail.map(({ loc, msg }) => `${loc.slice(1).join(" › ")}: ${msg}`).join("; "));
  return { body, headers: response.headers };
}

/** A field for each column, in the middle of its range, which stands beside it with the unit. */
function addField({ name, type, unit, minimum, maximum }, index) {
  const field = byId("field-template").content.cloneNode(true);
  const input = field.querySelector("input");
  const middle = (minimum + maximum) / 2;
  Object.assign(input, { id: `field-${index}`, name, step: type === "integer" ? "1" : "any" });
  input.value = type === "integer" ? Math.round(middle) : Number(middle.toPrecision(4));
  field.querySelector("label").htmlFor = input.id;
  field.querySelector(".name").textContent = name;
  field.querySelector(".hint").textContent = `${minimum} to ${maximum}${unit ? ` ${unit}` : ""}`;
  byId("row").append(field);
}

async function predict() {
  const mine = (asked += 1);
  const row = {};
  for (const input of byId("row").querySelectorAll("input")) {
    if (input.value === "") return fail(`${input.name}: there is no number`);
    row[input.name] = input.valueAsNumber;
  }
  try {
    const { body, headers } = await ask("predict", { method: "POST", body: JSON.stringify({ rows: [row] }) });
    if (mine === asked) show(body.predictions[0], row, headers.has("X-Out-Of-Range"));
  } catch (error) {
    if (mine === asked) fail(error.message);
  }
}

function fail(message) {
  byId("bars").replaceChildren();
  byId("verdict").textContent = "";
  byId("outside").hidden = true;
  byId("error").textContent = message;
  byId("error").hidden = false;
}

function show(prediction, row, isOutside) {
  byId("error").hidden = true;
  const { name, unit } = card.target;
  const isValue = !Array.isArray(prediction);
  byId("verdict").textContent = `${name}: ${isValue ? prediction.value : prediction[0].label}${unit ? ` ${unit}` : ""}`;
  byId("bars").replaceChildren(...(isValue ? [] : prediction.map(bar)));
  const outside = card.features.filter(({ name: column, minimum, maximum }) => row[column] < minimum || row[column] > maximum);
  byId("outside").hidden = !isOutside;
  byId("outside").textContent = `Not trained on such values: ${outside.map(({ name: column }) => column).join(", ")}`;
}

function bar({ label, score }) {
  const made = byId("bar-template").content.cloneNode(true);
  made.querySelector("li").className = `hue-${card.labels.indexOf(label) % HUES}`;
  made.querySelector(".name").textContent = label;
  made.querySelector(".score").textContent = `${(score * 100).toFixed(1)} %`;
  made.querySelector(".fill").style.setProperty("--score", score); // by CSSOM: style-src forbids style attributes
  return made;
}

async function load() {
  try {
    card = (await ask("model/info")).body;
  } catch (error) {
    fail(error.message);
    return setTimeout(load, RETRY_MS);
  }
  if (card.intended_use) byId("purpose").textContent = card.intended_use;
  card.features.forEach(addField);
  return predict();
}

byId("row").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(predict, TYPING_PAUSE_MS);
});
byId("row").addEventListener("submit", (event) => event.preventDefault());
byId("key").addEventListener("change", () => {
  sessionStorage.setItem(KEY, byId("key").value.trim());
  if (card) predict();
});
load();
